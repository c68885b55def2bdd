# What Ruby's stomp gem sees of the broker: client.rb ADDRESS SCENARIO VERSION prints one JSON line per result.
# An ADDRESS that begins with tls:// is spoken to by TLS; FERRYMQ_CA names the authority.
#
# The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.

Encoding.default_external = Encoding::UTF_8
require 'digest'
require 'json'
require 'stomp'
require 'timeout'

DEADLINE_S = 30
TLS = ARGV[0].start_with?('tls://')
HOST, PORT = ARGV[0].delete_prefix('tls://').split(':')
SCENARIO = ARGV[1].tr('-', '_')
VERSION = ARGV[2]
DURABLE = { 'activemq.subscriptionName' => 'news' }.freeze

def say(**result)
  $stdout.puts JSON.generate(result)
  $stdout.flush
end

# An ERROR frame.
class Refused < StandardError; end

# One connection with at most one subscription.
class Client
  attr_reader :stomp

  def initialize(headers = {}, login: nil)
    host = { host: HOST, port: Integer(PORT) }
    host[:ssl] = Stomp::SSLParams.new(ts_files: ENV.fetch('FERRYMQ_CA')) if TLS
    host[:login], host[:passcode] = login if login
    @stomp = Stomp::Connection.new(
      hosts: [host],
      reliable: false,
      connect_headers: { 'accept-version' => VERSION, 'host' => HOST }.merge(headers)
    )
    raise Refused, @stomp.connection_frame.headers['message'] if @stomp.connection_frame.command != 'CONNECTED'
  end

  # Opens one for some work, and closes it.
  def self.with(headers = {}, login: nil)
    client = new(headers, login: login)
    yield client
    client.stomp.disconnect(receipt: 'bye')
    raise 'no RECEIPT for DISCONNECT' if client.stomp.disconnect_receipt.headers['receipt-id'] != 'bye'
  end

  def send(destination, *bodies, **headers)
    bodies.each { |body| @stomp.publish(destination, body, headers) }
  end

  def subscribe(destination, ack = 'auto', headers = {})
    @stomp.subscribe(destination, { 'ack' => ack }.merge(headers), 's')
  end

  def take(command = 'MESSAGE')
    frame = Timeout.timeout(DEADLINE_S) { @stomp.receive }
    raise Refused, frame.headers['message'] if frame&.command == 'ERROR'
    raise "#{frame} instead of #{command}" if frame.nil? || frame.command != command

    frame
  end

  # Receives a message and prints it.
  def show
    message = take
    say(
      body: message.body.force_encoding('UTF-8'),
      redelivered: message.headers['redelivered'] == 'true',
      count: message.headers['JMSXDeliveryCount']
    )
    message
  end

  def ack(message, headers = {})
    @stomp.ack(*identified(message, headers))
  end

  def nack(message)
    @stomp.nack(*identified(message, {}))
  end

  def identified(message, headers)
    return [message.headers['ack'], headers] if VERSION == '1.2'

    [message.headers['message-id'], { 'subscription' => 's' }.merge(headers)]
  end
end

# Shows that nothing is left: what is sent now comes first.
def show_last(destination)
  Client.with do |client|
    client.send(destination, 'last')
    client.subscribe(destination)
    client.show
  end
end

def connect
  Client.with do |client|
    say(version: client.stomp.protocol)
    client.send('/queue/connect', 'hello')
    client.subscribe('/queue/connect')
    client.show
  end
end

def ack_auto
  Client.with do |client|
    client.send('/queue/auto', '1', '2', '3')
    client.subscribe('/queue/auto')
    3.times { client.show }
  end
  show_last('/queue/auto')
end

def ack_client
  Client.with do |client|
    client.send('/queue/client', '1', '2', '3', '4', '5')
    client.subscribe('/queue/client', 'client')
    messages = Array.new(5) { client.take }
    client.ack(messages[2])
  end
  Client.with do |client|
    client.subscribe('/queue/client', 'client')
    client.show
    client.ack(client.show)
  end
  show_last('/queue/client')
end

def ack_individual
  Client.with do |client|
    client.send('/queue/individual', '1', '2', '3', '4')
    client.subscribe('/queue/individual', 'client-individual')
    messages = Array.new(4) { client.take }
    client.ack(messages[1])
    client.ack(messages[3])
  end
  Client.with do |client|
    client.subscribe('/queue/individual', 'client-individual')
    2.times { client.ack(client.show) }
  end
  show_last('/queue/individual')
end

def nack
  Client.with do |client|
    client.send('/queue/nack', 'bad', 'good')
    client.subscribe('/queue/nack', 'client-individual')
    client.nack(client.show)
    2.times { client.ack(client.show) }
  end
  show_last('/queue/nack')
end

def commit
  Client.with do |client|
    client.stomp.begin('t1')
    client.send('/queue/commit', '1', '2', transaction: 't1')
    client.send('/queue/commit', 'outside')
    client.subscribe('/queue/commit', 'client-individual')
    messages = [client.show]
    client.stomp.commit('t1')
    messages += [client.show, client.show]
    client.stomp.begin('t2')
    messages.each { |message| client.ack(message, transaction: 't2') }
    client.stomp.commit('t2')
  end
  show_last('/queue/commit')
end

def abort
  Client.with do |client|
    client.send('/queue/abort', 'kept')
    client.subscribe('/queue/abort', 'client-individual')
    client.stomp.begin('t')
    client.send('/queue/abort', 'dropped', transaction: 't')
    client.ack(client.show, transaction: 't')
    client.stomp.abort('t')
  end
  Client.with do |client|
    client.subscribe('/queue/abort', 'client-individual')
    client.ack(client.show)
  end
  show_last('/queue/abort')
end

def durable
  Client.with({ 'client-id' => 'durable' }) do |client|
    client.subscribe('/topic/news', 'client-individual', DURABLE)
    client.send('/topic/news', 'online')
    client.ack(client.show)
  end
  Client.with { |other| other.send('/topic/news', 'offline 1', 'offline 2', persistent: 'true') }
  Client.with({ 'client-id' => 'durable' }) do |client|
    client.subscribe('/topic/news', 'client-individual', DURABLE)
    2.times { client.ack(client.show) }
  end
end

def durable_removed
  Client.with({ 'client-id' => 'durable' }) do |client|
    client.subscribe('/topic/old', 'auto', DURABLE)
    client.stomp.unsubscribe('/topic/old', {}, 's')
    client.stomp.unsubscribe('/topic/old', DURABLE, 's')
    client.send('/topic/old', 'unheard', persistent: 'true')
  end
  Client.with({ 'client-id' => 'durable' }) do |client|
    client.subscribe('/topic/old', 'auto', DURABLE)
    client.send('/topic/old', 'heard')
    client.show
  end
end

def heart_beats
  Client.with({ 'heart-beat' => '300,300' }) do |client|
    # The library counts on a thread of its own.
    Timeout.timeout(DEADLINE_S) { Thread.pass until client.stomp.hbrecv_count >= 5 }
    say(beats: 5)
    client.send('/queue/beats', 'still here')
    client.subscribe('/queue/beats')
    client.show
  end
end

def utf8
  Client.with do |client|
    client.send('/queue/utf8', 'тело 𝄞 😀 本文', 'заголовок-𝄞': 'значение 😀 値')
    client.subscribe('/queue/utf8')
    message = client.take
    headers = message.headers.to_h { |name, value| [name.dup.force_encoding('UTF-8'), value.dup.force_encoding('UTF-8')] }
    say(header: headers['заголовок-𝄞'], body: message.body.force_encoding('UTF-8'))
  end
end

def escapes
  Client.with do |client|
    client.send('/queue/escapes', 'body', note: "a colon: back\\slash\nline")
    client.subscribe('/queue/escapes')
    say(header: client.take.headers['note'])
  end
end

def binary
  Client.with do |client|
    client.send('/queue/binary', [*0..255, 0, 0].pack('C*'))
    client.subscribe('/queue/binary')
    say(hex: client.take.body.unpack1('H*'))
  end
end

def big
  Client.with do |client|
    client.send('/queue/big', (0...(1 << 20)).map { |number| format('%010d', number) }.join)
    client.subscribe('/queue/big')
    body = client.take.body
    say(octets: body.bytesize, sha256: Digest::SHA256.hexdigest(body))
  end
end

def receipts
  Client.with do |client|
    100.times { |number| client.send('/queue/receipts', number.to_s, persistent: 'true', receipt: number.to_s) }
    say(receipts: Array.new(100) { Integer(client.take('RECEIPT').headers['receipt-id']) })
    client.subscribe('/queue/receipts')
    say(bodies: Array.new(100) { client.take.body })
  end
end

def selector
  Client.with do |client|
    [['red', 3], ['red', 7], ['blue', 9], ['red', 9]].each do |colour, weight|
      client.send('/queue/paint', "#{colour} #{weight}", colour: colour, weight: weight.to_s)
    end
    client.subscribe('/queue/paint', 'client-individual', 'selector' => "colour = 'red' AND weight > 5")
    2.times { client.ack(client.show) }
  end
  Client.with do |client|
    client.subscribe('/queue/paint')
    2.times { client.show }
  end
end

def now_s
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

def delayed
  Client.with do |client|
    begun = now_s
    client.send('/queue/later', 'later', AMQ_SCHEDULED_DELAY: '300', persistent: 'true')
    client.send('/queue/later', 'at once')
    client.subscribe('/queue/later')
    2.times { client.show }
    say(waited: now_s - begun > 0.29)
  end
end

def request_reply
  Client.with do |requester|
    Client.with do |service|
      requester.subscribe('/temp-queue/replies')
      requester.send('/queue/service', '6 * 7', 'reply-to': '/temp-queue/replies', 'correlation-id': 'c-1')
      service.subscribe('/queue/service')
      request = service.take
      correlation = request.headers['correlation-id']
      say(request: request.body, correlation: correlation)
      service.send(request.headers['reply-to'], '42', 'correlation-id': correlation)
      reply = requester.take
      say(reply: reply.body, correlation: reply.headers['correlation-id'])
    end
  end
end

def show_copies(client)
  2.times do
    message = client.take
    say(body: message.body, origin: message.headers['original-destination'])
  end
end

def virtual_topic
  billing, stock = %w[billing stock].map { |name| "/queue/Consumer.#{name}.VirtualTopic.orders" }
  Client.with { |client| client.subscribe(billing) } # From now on it collects.
  Client.with do |client|
    client.subscribe(stock)
    client.send('/topic/VirtualTopic.orders', 'order 1', 'order 2', persistent: 'true')
    show_copies(client)
  end
  Client.with do |client|
    client.subscribe(billing)
    show_copies(client)
  end
end

def login
  begin
    Client.new(login: ['orders', 'a guess'])
  rescue Refused => e
    say(refused: e.message)
  end
  Client.with(login: ['orders', 'the secret of orders']) do |client|
    client.send('/queue/orders.new', 'allowed')
    client.subscribe('/queue/orders.new')
    client.show
    client.send('/queue/billing', 'forbidden')
    begin
      client.take
    rescue Refused => e
      say(denied: e.message)
    end
  end
end

IMPATIENT = {
  'activemq.maximumRedeliveries' => '2',
  'activemq.initialRedeliveryDelay' => '50',
  'activemq.useExponentialBackOff' => 'true',
  'activemq.backOffMultiplier' => '4'
}.freeze

def retry_dead
  Client.with do |client|
    client.send('/queue/poison', 'bad', persistent: 'true')
    client.subscribe('/queue/poison', 'client-individual', IMPATIENT)
    begun = now_s
    2.times { client.nack(client.show) }
    last = client.show
    say('backed-off': now_s - begun > 0.24)
    client.nack(last)
    Client.with do |undertaker|
      undertaker.subscribe('/queue/ActiveMQ.DLQ', 'client-individual')
      dead = undertaker.take
      headers = dead.headers
      say(dead: dead.body, origin: headers['original-destination'], failures: headers['dlqDeliveryCount'])
    end
    client.ack(client.show)
  end
end

# `retry` is a word of the language.
Object.send(:method, SCENARIO == 'retry' ? :retry_dead : SCENARIO).call

# What Ruby's stomp gem sees of the broker: client.rb ADDRESS SCENARIO VERSION prints one JSON line per result.
#
# The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.

Encoding.default_external = Encoding::UTF_8
require 'digest'
require 'json'
require 'stomp'
require 'timeout'

DEADLINE_S = 30
HOST, PORT = ARGV[0].split(':')
SCENARIO = ARGV[1].tr('-', '_')
VERSION = ARGV[2]
DURABLE = { 'activemq.subscriptionName' => 'news' }.freeze

def say(**result)
  $stdout.puts JSON.generate(result)
  $stdout.flush
end

# One connection with at most one subscription.
class Client
  attr_reader :stomp

  def initialize(headers = {})
    @stomp = Stomp::Connection.new(
      hosts: [{ host: HOST, port: Integer(PORT) }],
      reliable: false,
      connect_headers: { 'accept-version' => VERSION, 'host' => HOST }.merge(headers)
    )
    raise "#{@stomp.connection_frame}" if @stomp.connection_frame.command != 'CONNECTED'
  end

  # Opens one for some work, and closes it.
  def self.with(headers = {})
    client = new(headers)
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
  Client.with('client-id' => 'durable') do |client|
    client.subscribe('/topic/news', 'client-individual', DURABLE)
    client.send('/topic/news', 'online')
    client.ack(client.show)
  end
  Client.with { |other| other.send('/topic/news', 'offline 1', 'offline 2', persistent: 'true') }
  Client.with('client-id' => 'durable') do |client|
    client.subscribe('/topic/news', 'client-individual', DURABLE)
    2.times { client.ack(client.show) }
  end
end

def durable_removed
  Client.with('client-id' => 'durable') do |client|
    client.subscribe('/topic/old', 'auto', DURABLE)
    client.stomp.unsubscribe('/topic/old', {}, 's')
    client.stomp.unsubscribe('/topic/old', DURABLE, 's')
    client.send('/topic/old', 'unheard', persistent: 'true')
  end
  Client.with('client-id' => 'durable') do |client|
    client.subscribe('/topic/old', 'auto', DURABLE)
    client.send('/topic/old', 'heard')
    client.show
  end
end

def heart_beats
  Client.with('heart-beat' => '300,300') do |client|
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

Object.send(:method, SCENARIO).call

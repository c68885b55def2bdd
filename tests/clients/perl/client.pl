# What Perl's Net::Stomp sees of the broker: client.pl ADDRESS SCENARIO VERSION prints one JSON line per result.
# An ADDRESS that begins with tls:// is spoken to by TLS; FERRYMQ_CA names the authority.
#
# The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.

use strict;
use warnings;
use utf8;

use Digest::SHA qw(sha256_hex);
use Encode qw(decode encode);
use JSON::PP ();
use Net::Stomp;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

# The library takes a body of 0 for none, unless it is an object.
package Body {
    use overload '""' => sub { ${ $_[0] } }, bool => sub { 1 }, fallback => 1;
}

my $DEADLINE_S = 30;
my ($address, $scenario, $version) = @ARGV;
my $is_tls = $address =~ s{^tls://}{};
my ($host, $port) = split /:/, $address;
my $json = JSON::PP->new->utf8->canonical;
$| = 1;

sub say_that {
    print $json->encode({@_}), "\n";
}

sub boolean {
    return $_[0] ? JSON::PP::true : JSON::PP::false;
}

# Connects; with the frame that answered, which is an ERROR if it was refused.
sub answered {
    my %headers = @_;
    my $stomp = Net::Stomp->new({
        hostname => $host,
        port     => $port,
        timeout  => $DEADLINE_S,
        $is_tls ? (ssl => 1, ssl_options => { SSL_ca_file => $ENV{FERRYMQ_CA} }) : (),
    });
    my $answer = $stomp->connect({ 'accept-version' => $version, host => $host, %headers });
    return ($stomp, $answer);
}

# Opens a connection for some work, and closes it when all that was sent is done.
sub with {
    my ($work, %headers) = @_;
    my ($stomp, $answer) = answered(%headers);
    die $answer->as_string if $answer->command ne 'CONNECTED';
    $work->($stomp, $answer);
    # The library closes without waiting, and what it had not read would break the connection.
    $stomp->send_frame(Net::Stomp::Frame->new({ command => 'DISCONNECT', headers => { receipt => 'bye' } }));
    take($stomp, 'RECEIPT');
    $stomp->_close_socket;
}

sub take {
    my ($stomp, $command) = (@_, 'MESSAGE');
    my $frame = $stomp->receive_frame or die "no $command came";
    die 'it is ' . $frame->as_string . " and no $command" if $frame->command ne $command;
    return $frame;
}

# Receives a message and prints it.
sub show {
    my $frame = take(@_);
    my $headers = $frame->headers;
    say_that(
        body        => decode('UTF-8', $frame->body),
        redelivered => boolean(($headers->{redelivered} // '') eq 'true'),
        count       => $headers->{JMSXDeliveryCount},
    );
    return $frame;
}

sub send_to {
    my ($stomp, $destination, $body, %headers) = @_;
    $stomp->send({ destination => $destination, body => bless(\$body, 'Body'), %headers });
}

sub subscribe {
    my ($stomp, $destination, $ack, %headers) = @_;
    $stomp->subscribe({ id => 's', destination => $destination, ack => $ack // 'auto', %headers });
}

# What names a message in ACK and NACK: the library knows 1.0 only.
sub named {
    my ($frame) = @_;
    return (frame => $frame, subscription => 's', id => $frame->headers->{ack} // '');
}

sub ack {
    my ($stomp, $frame, %headers) = @_;
    $stomp->ack({ named($frame), %headers });
}

sub nack {
    my ($stomp, $frame) = @_;
    $stomp->nack({ named($frame) });
}

sub transaction {
    my ($stomp, $command, $id) = @_;
    $stomp->send_frame(Net::Stomp::Frame->new({ command => $command, headers => { transaction => $id } }));
}

# Shows that nothing is left: what is sent now comes first.
sub show_last {
    my ($destination) = @_;
    with(sub {
        my ($stomp) = @_;
        send_to($stomp, $destination, 'last');
        subscribe($stomp, $destination);
        show($stomp);
    });
}

# Shows the copies that have come to a queue behind a virtual topic.
sub show_copies {
    my ($stomp) = @_;
    for (1 .. 2) {
        my $frame = take($stomp);
        say_that(body => $frame->body, origin => $frame->headers->{'original-destination'});
    }
}

my @DURABLE = ('activemq.subscriptionName' => 'news');

my %scenarios = (
    'connect' => sub {
        with(sub {
            my ($stomp, $connected) = @_;
            # 1.0 may leave it out.
            say_that(version => $connected->headers->{version} // '1.0');
            send_to($stomp, '/queue/connect', 'hello');
            subscribe($stomp, '/queue/connect');
            show($stomp);
        });
    },

    'ack-auto' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/auto', $_) for 1 .. 3;
            subscribe($stomp, '/queue/auto');
            show($stomp) for 1 .. 3;
        });
        show_last('/queue/auto');
    },

    'ack-client' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/client', $_) for 1 .. 5;
            subscribe($stomp, '/queue/client', 'client');
            my @frames = map { take($stomp) } 1 .. 5;
            ack($stomp, $frames[2]);
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/queue/client', 'client');
            show($stomp);
            ack($stomp, show($stomp));
        });
        show_last('/queue/client');
    },

    'ack-individual' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/individual', $_) for 1 .. 4;
            subscribe($stomp, '/queue/individual', 'client-individual');
            my @frames = map { take($stomp) } 1 .. 4;
            ack($stomp, $_) for @frames[1, 3];
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/queue/individual', 'client-individual');
            ack($stomp, show($stomp)) for 1 .. 2;
        });
        show_last('/queue/individual');
    },

    'nack' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/nack', $_) for qw(bad good);
            subscribe($stomp, '/queue/nack', 'client-individual');
            nack($stomp, show($stomp));
            ack($stomp, show($stomp)) for 1 .. 2;
        });
        show_last('/queue/nack');
    },

    'commit' => sub {
        with(sub {
            my ($stomp) = @_;
            transaction($stomp, BEGIN => 't1');
            send_to($stomp, '/queue/commit', $_, transaction => 't1') for 1 .. 2;
            send_to($stomp, '/queue/commit', 'outside');
            subscribe($stomp, '/queue/commit', 'client-individual');
            my @frames = show($stomp);
            transaction($stomp, COMMIT => 't1');
            push @frames, show($stomp), show($stomp);
            transaction($stomp, BEGIN => 't2');
            ack($stomp, $_, transaction => 't2') for @frames;
            transaction($stomp, COMMIT => 't2');
        });
        show_last('/queue/commit');
    },

    'abort' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/abort', 'kept');
            subscribe($stomp, '/queue/abort', 'client-individual');
            transaction($stomp, BEGIN => 't');
            send_to($stomp, '/queue/abort', 'dropped', transaction => 't');
            ack($stomp, show($stomp), transaction => 't');
            transaction($stomp, ABORT => 't');
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/queue/abort', 'client-individual');
            ack($stomp, show($stomp));
        });
        show_last('/queue/abort');
    },

    'durable' => sub {
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/topic/news', 'client-individual', @DURABLE);
            send_to($stomp, '/topic/news', 'online');
            ack($stomp, show($stomp));
        }, 'client-id' => 'durable');
        with(sub {
            my ($other) = @_;
            send_to($other, '/topic/news', "offline $_", persistent => 'true') for 1 .. 2;
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/topic/news', 'client-individual', @DURABLE);
            ack($stomp, show($stomp)) for 1 .. 2;
        }, 'client-id' => 'durable');
    },

    'durable-removed' => sub {
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/topic/old', 'auto', @DURABLE);
            $stomp->unsubscribe({ id => 's' });
            $stomp->unsubscribe({ id => 's', @DURABLE });
            send_to($stomp, '/topic/old', 'unheard', persistent => 'true');
        }, 'client-id' => 'durable');
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/topic/old', 'auto', @DURABLE);
            send_to($stomp, '/topic/old', 'heard');
            show($stomp);
        }, 'client-id' => 'durable');
    },

    'utf8' => sub {
        my $name = encode('UTF-8', 'заголовок-𝄞');
        with(sub {
            my ($stomp) = @_;
            my ($body, $value) = map { encode('UTF-8', $_) } 'тело 𝄞 😀 本文', 'значение 😀 値';
            send_to($stomp, '/queue/utf8', $body, $name => $value);
            subscribe($stomp, '/queue/utf8');
            my $frame = take($stomp);
            say_that(header => decode('UTF-8', $frame->headers->{$name}), body => decode('UTF-8', $frame->body));
        });
    },

    'binary' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/binary', pack('C*', 0 .. 255, 0, 0), bytes_message => 1);
            subscribe($stomp, '/queue/binary');
            say_that(hex => unpack('H*', take($stomp)->body));
        });
    },

    'big' => sub {
        with(sub {
            my ($stomp) = @_;
            my $body = join '', map { sprintf '%010d', $_ } 0 .. (1 << 20) - 1;
            send_to($stomp, '/queue/big', $body, bytes_message => 1);
            subscribe($stomp, '/queue/big');
            my $received = take($stomp)->body;
            say_that(octets => length $received, sha256 => sha256_hex($received));
        });
    },

    'receipts' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/receipts', $_, persistent => 'true', receipt => $_) for 0 .. 99;
            say_that(receipts => [map { 0 + take($stomp, 'RECEIPT')->headers->{'receipt-id'} } 0 .. 99]);
            subscribe($stomp, '/queue/receipts');
            say_that(bodies => [map { take($stomp)->body } 0 .. 99]);
        });
    },

    'selector' => sub {
        with(sub {
            my ($stomp) = @_;
            for (['red', 3], ['red', 7], ['blue', 9], ['red', 9]) {
                my ($colour, $weight) = @$_;
                send_to($stomp, '/queue/paint', "$colour $weight", colour => $colour, weight => $weight);
            }
            subscribe($stomp, '/queue/paint', 'client-individual', selector => q{colour = 'red' AND weight > 5});
            ack($stomp, show($stomp)) for 1 .. 2;
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, '/queue/paint');
            show($stomp) for 1 .. 2;
        });
    },

    'delayed' => sub {
        with(sub {
            my ($stomp) = @_;
            my $begun = clock_gettime(CLOCK_MONOTONIC);
            send_to($stomp, '/queue/later', 'later', AMQ_SCHEDULED_DELAY => 300, persistent => 'true');
            send_to($stomp, '/queue/later', 'at once');
            subscribe($stomp, '/queue/later');
            show($stomp) for 1 .. 2;
            say_that(waited => boolean(clock_gettime(CLOCK_MONOTONIC) - $begun > 0.29));
        });
    },

    'request-reply' => sub {
        with(sub {
            my ($requester) = @_;
            with(sub {
                my ($service) = @_;
                subscribe($requester, '/temp-queue/replies');
                my %headers = ('reply-to' => '/temp-queue/replies', 'correlation-id' => 'c-1');
                send_to($requester, '/queue/service', '6 * 7', %headers);
                subscribe($service, '/queue/service');
                my $request = take($service);
                my $correlation = $request->headers->{'correlation-id'};
                say_that(request => $request->body, correlation => $correlation);
                send_to($service, $request->reply_to, '42', 'correlation-id' => $correlation);
                my $reply = take($requester);
                say_that(reply => $reply->body, correlation => $reply->headers->{'correlation-id'});
            });
        });
    },

    'virtual-topic' => sub {
        my ($billing, $stock) = map { "/queue/Consumer.$_.VirtualTopic.orders" } qw(billing stock);
        # From now on it collects.
        with(sub { subscribe($_[0], $billing) });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, $stock);
            send_to($stomp, '/topic/VirtualTopic.orders', "order $_", persistent => 'true') for 1 .. 2;
            show_copies($stomp);
        });
        with(sub {
            my ($stomp) = @_;
            subscribe($stomp, $billing);
            show_copies($stomp);
        });
    },

    'login' => sub {
        my (undef, $answer) = answered(login => 'orders', passcode => 'a guess');
        say_that(refused => $answer->headers->{message}) if $answer->command eq 'ERROR';
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/orders.new', 'allowed');
            subscribe($stomp, '/queue/orders.new');
            show($stomp);
            send_to($stomp, '/queue/billing', 'forbidden');
            # The library does not undo the escapes of 1.2.
            say_that(denied => take($stomp, 'ERROR')->headers->{message} =~ s/\\c/:/gr);
        }, login => 'orders', passcode => 'the secret of orders');
    },

    'retry' => sub {
        with(sub {
            my ($stomp) = @_;
            send_to($stomp, '/queue/poison', 'bad', persistent => 'true');
            subscribe($stomp, '/queue/poison', 'client-individual',
                'activemq.maximumRedeliveries'      => 2,
                'activemq.initialRedeliveryDelay'   => 50,
                'activemq.useExponentialBackOff'    => 'true',
                'activemq.backOffMultiplier'        => 4,
            );
            my $begun = clock_gettime(CLOCK_MONOTONIC);
            nack($stomp, show($stomp)) for 1 .. 2;
            my $last = show($stomp);
            say_that('backed-off' => boolean(clock_gettime(CLOCK_MONOTONIC) - $begun > 0.24));
            nack($stomp, $last);
            with(sub {
                my ($undertaker) = @_;
                subscribe($undertaker, '/queue/ActiveMQ.DLQ', 'client-individual');
                my $dead = take($undertaker);
                say_that(
                    dead     => $dead->body,
                    origin   => $dead->headers->{'original-destination'},
                    failures => $dead->headers->{dlqDeliveryCount},
                );
            });
            ack($stomp, show($stomp));
        });
    },
);

$scenarios{$scenario}->();

# Passes connections to a port of this sandbox on through its standard streams. A frame is
# the number of a connection, the length of what follows, both of 32 bits, and that many
# bytes; none at all end the connection. Frame 0 says that the port is open.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Socket::INET;

my ($port) = @ARGV;
my $listener = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 128, ReuseAddr => 1, Blocking => 0,
) or die "listening: $!\n";
binmode STDIN;
binmode STDOUT;
$SIG{PIPE} = 'IGNORE';

my ($count, $in) = (0, '');
# Open connections, what is still to be written to each, and which end with that.
my (%open, %out, %ending);

sub pass_on {
    my ($id, $data) = @_;
    my $frame = pack('NN', $id, length $data) . $data;
    while (length $frame) {
        my $n = syswrite STDOUT, $frame;
        next if !defined $n && $! == EINTR;
        exit 0 if !defined $n;
        substr $frame, 0, $n, '';
    }
}

sub drop {
    my ($id) = @_;
    close $open{$id} if $open{$id};
    delete $open{$id};
    delete $out{$id};
    delete $ending{$id};
}

sub later { return $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR }

sub take {
    my $n = sysread STDIN, $in, 1 << 18, length $in;
    return if !defined $n && later();
    exit 0 if !$n;
    while (length $in >= 8) {
        my ($id, $length) = unpack 'NN', $in;
        last if length $in < 8 + $length;
        my $data = substr $in, 8, $length;
        substr $in, 0, 8 + $length, '';
        next if !$open{$id};
        $length ? ($out{$id} .= $data) : ($ending{$id} = 1);
    }
}

sub receive {
    my ($id) = @_;
    my $n = sysread $open{$id}, my $data, 1 << 16;
    return if !defined $n && later();
    pass_on($id, $n ? $data : '');
    drop($id) if !$n;
}

sub send_on {
    my ($id) = @_;
    if (length $out{$id}) {
        my $n = syswrite $open{$id}, $out{$id};
        return if !defined $n && later();
        if (!defined $n) { pass_on($id, ''); return drop($id) }
        substr $out{$id}, 0, $n, '';
    }
    drop($id) if $ending{$id} && !length $out{$id};
}

pass_on(0, '');
while (1) {
    my ($r, $w) = ('', '');
    vec($r, fileno $_, 1) = 1 for \*STDIN, $listener, values %open;
    for my $id (keys %open) {
        vec($w, fileno $open{$id}, 1) = 1 if length $out{$id} || $ending{$id};
    }
    next if select($r, $w, undef, undef) < 0;
    take() if vec $r, fileno STDIN, 1;
    if (vec $r, fileno $listener, 1) {
        while (my $socket = $listener->accept) {
            $socket->blocking(0);
            $open{++$count} = $socket;
            $out{$count} = '';
        }
    }
    for my $id (keys %open) {
        next if !$open{$id};
        my $at = fileno $open{$id};
        send_on($id) if vec $w, $at, 1;
        receive($id) if $open{$id} && vec $r, $at, 1;
    }
}

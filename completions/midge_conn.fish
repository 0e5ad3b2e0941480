# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_midge_conn_global_optspecs
    string join \n help version
end

function __fish_midge_conn_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_midge_conn_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_midge_conn_using_subcommand
    set -l cmd (__fish_midge_conn_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c midge_conn -n "__fish_midge_conn_needs_command" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -l version -d 'Print the version'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "start" -d 'Connect, hold the connections, and report how they fared'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "stop" -d 'End a running load: disconnect its clients and have it print its report'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "check" -d 'Check whether this machine has what a load needs, without starting it'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "calibrate" -d 'Measure how many connections per second this machine can make at most'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "merge" -d 'Merge the reports of the shards of one plan'
complete -c midge_conn -n "__fish_midge_conn_needs_command" -f -a "diff" -d 'Compare two reports, and tell what became worse'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l url -d 'The broker, as mqtt-tcp://USER:PASSWORD@HOST:PORT; user, password and port may be left out. Other schemes: tls+mqtt-tcp (TLS), ws and wss (WebSocket, whose path follows the port), and unix:///PATH; mqtt and mqtts are other names of the first two. May be repeated: the clients are dealt to the brokers in turn' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s A -l bind -d 'Addresses of this machine to connect from, and networks of them, such as 10.0.0.5,10.0.0.6 or 127.0.0.0/8. Each has about 60,000 ports. Without it, connections to the loopback interface come from as many of its addresses as they need' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-engine -d 'An engine of OpenSSL, of which there is none' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-engine-kpass-sha1 -d 'The password of such an engine' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l keypass -d 'Passphrase of the private key. Other users of this machine can see it in the list of processes' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l keypass-file -d 'File with the passphrase of the private key; one final newline is dropped' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-version -d 'Lowest version of TLS to accept [default: tlsv1.2]' -r -f -a "tlsv1.2\t''
tlsv1.3\t''"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-alpn -d 'Protocol to ask for by ALPN, such as mqtt' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-server-name -d 'Name to ask the broker for (SNI) and to look for in its certificate, in place of the host' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ciphers -d 'Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l crlfile -d 'PEM file with certificate revocation lists; may be repeated. Each certificate of the broker\'s chain must then be covered by a list that has not expired' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-keylog -d 'File to append the secrets of the sessions to, for programs that analyse captured traffic. Whoever can read it can read the traffic' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l psk -d 'Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns TLS on, needs --psk-identity, and a build with the feature psk' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l psk-identity -d 'Name of the key of --psk' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s C -l count -d 'How many clients connect' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s i -l interval -d 'Milliseconds between the starts of two clients; 0 starts them as fast as possible' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l rate -d 'Clients that start per second, such as 500 or 500/s, per minute (30/m) or per hour (100/h), in place of --interval' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ramp -d 'A rate that rises or falls steadily from the one to the other within the duration, and then stays, such as 10..1000/60s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l steps -d 'Rates that follow each other, each for its duration, such as 100:30s,500:30s,1000. The last one stays until every client has started; 0 pauses' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l burst -d 'That many clients at once, and again after each duration, such as 500/10s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l hold -d 'How long to keep the connections once every client has connected or failed, such as 30s, 5m or 1h30m. Without it they are kept until Ctrl-C' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l in-progress -d 'How many attempts may be in progress at a time. Too many overflow the accept queue of the broker, and then measure retransmissions of one second' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s n -l parallel -d 'Worker threads [default: one per processor]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l processes -d 'Processes to deal the clients to, of the same program [default: as many as the limit of open files makes necessary]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l part -d 'Which of these processes this one is; given by the one that starts them' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l connect-timeout -d 'How long a client may take from its start to its CONNACK' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l seed -d 'The number that the client identifiers are made from. Runs with the same seed have the same clients; two runs at the same time need different ones. Default: random' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s V -l version -d 'Version of MQTT: 3 (for 3.1), 4 (for 3.1.1) or 5' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s k -l keepalive -d 'Keep-alive interval in seconds; 0 turns it off' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s u -l user -d 'User name of every client, with the places of --publish' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s p -l password -d 'Password of every client. Other users of this machine can see it in the list of processes: --pw-file, --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable counts where there is a user name and no other password' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l pw-file -d 'File with the password; one final newline is dropped' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s c -l clean_session -d 'Whether the clients start clean sessions; with false, the broker keeps their sessions' -r -f -a "true\t''
false\t''"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-topic -d 'Topic of the message that the broker publishes for each client that it loses' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-msg -d 'Payload of that message; empty if not given' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-qos -d 'Quality of service of that message: 0, 1 or 2' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s I -l id -d 'Client identifiers, with the places of --publish, such as device-%i [default: midge-SEED-INDEX in hexadecimal]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l clients -d 'File of comma-separated values with a row for each client. Its first line names the columns, of which there are client_id, user, password, cert and key; the last two are files in PEM form. What a row leaves empty comes from the other options' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l backoff -d 'How long clients wait before they connect again: a random time of at most FIRST, whose bound doubles from attempt to attempt up to MAX' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l churn -d 'Connections per second to end with a DISCONNECT and make again while they are held' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l storm -d 'Cut a part of the connections at once, at that time after the start of the load, such as drop=50%@30s; the clients come back by --backoff. May be repeated' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l publish -d 'Topic that each client publishes to. Of the text, %i is replaced by the index of the client, %c by its client identifier, %u by its user name, %r by digits that look random, %s by the seed, and %% by a percent sign' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l message -d 'Payload of these messages; empty if neither this nor --size is given' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l size -d 'Length in bytes of a payload of filler, in place of --message' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l every -d 'Time between two messages of one client' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l subscribe -d 'Filter that each client subscribes to, with the places of --publish' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s q -l qos -d 'Quality of service of --publish and --subscribe: 0, 1 or 2' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l slo -d 'An objective, such as \'connack.p99<50ms\', \'fail.rate<0.1%\' or \'hold.drops==0\': a phase with .pNN, .min, .max, .mean or .n; or fail.rate, fail.count, hold.drops, hold.drop_rate, rate.achieved, connected.count, open.peak, late.starts. May be given several times. With objectives, they alone decide whether the load has passed' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l abort-on-slo -d 'Give the load up once an objective that only gets worse has been missed for this long' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l find -d 'Search the highest rate at which the objectives are met, with a short load at each rate. It begins with the rate given (-i or --rate); -C is the most clients of one load' -r -f -a "max-rate\t'The highest rate of starts'"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l shard -d 'Start shard I of N: those of the COUNT clients whose index leaves the remainder I when divided by N. With \'auto\', I and N come from the scheduler: JOB_COMPLETION_INDEX (and SHARDS), SLURM_ARRAY_TASK_ID, SLURM_PROCID, or PARALLEL_SEQ (and SHARDS). With I missing, as in /N, only I does' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l start-at -d 'Start the first client at this instant: RFC 3339, such as 2030-01-31T12:00:00Z, or a time from now, such as +30s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l barrier -d 'Start together with the other shards: the URL of a broker, with a topic, over which they find each other. Shard 0 publishes the instant once all of them are there' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l json -d 'Write the report to this file as well, as JSON' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l hlog -d 'Write the distribution of each phase in each second to this file, as an HdrHistogram log' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l html -d 'Write the report to this file as a page with charts, which needs nothing else to be read' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l csv -d 'Write the counters and latencies of each second to this file, as comma-separated values' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l prometheus -d 'Serve metrics to Prometheus at http://ADDRESS/metrics while the load runs; a port alone means 127.0.0.1' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l cafile -l cacert -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s E -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s s -l secure -d 'Use TLS, as tls+mqtt-tcp:// and the options that name a CA do too'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l embedded -d 'Connect to a null broker inside this process instead, which needs nothing installed'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l pw-prompt -d 'Ask for the password on the terminal'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-retain -d 'Retain that message'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l reconnect -d 'Have clients connect again that failed to connect or lost their connections'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s r -l retain -d 'Retain the messages of --publish'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l force -d 'Start even though the clock of this machine is not synchronised'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l quiet -d 'Print no progress. The report is printed in any case'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s v -l verbose -d 'Print a line for each client that fails or loses its connection'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand stop" -l all -d 'End all running loads of this user'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand stop" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l url -d 'The broker, as mqtt-tcp://USER:PASSWORD@HOST:PORT; user, password and port may be left out. Other schemes: tls+mqtt-tcp (TLS), ws and wss (WebSocket, whose path follows the port), and unix:///PATH; mqtt and mqtts are other names of the first two. May be repeated: the clients are dealt to the brokers in turn' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s A -l bind -d 'Addresses of this machine to connect from, and networks of them, such as 10.0.0.5,10.0.0.6 or 127.0.0.0/8. Each has about 60,000 ports. Without it, connections to the loopback interface come from as many of its addresses as they need' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-engine -d 'An engine of OpenSSL, of which there is none' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-engine-kpass-sha1 -d 'The password of such an engine' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l keypass -d 'Passphrase of the private key. Other users of this machine can see it in the list of processes' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l keypass-file -d 'File with the passphrase of the private key; one final newline is dropped' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-version -d 'Lowest version of TLS to accept [default: tlsv1.2]' -r -f -a "tlsv1.2\t''
tlsv1.3\t''"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-alpn -d 'Protocol to ask for by ALPN, such as mqtt' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-server-name -d 'Name to ask the broker for (SNI) and to look for in its certificate, in place of the host' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l ciphers -d 'Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l crlfile -d 'PEM file with certificate revocation lists; may be repeated. Each certificate of the broker\'s chain must then be covered by a list that has not expired' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-keylog -d 'File to append the secrets of the sessions to, for programs that analyse captured traffic. Whoever can read it can read the traffic' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l psk -d 'Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns TLS on, needs --psk-identity, and a build with the feature psk' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l psk-identity -d 'Name of the key of --psk' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s C -l count -d 'How many clients connect' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s i -l interval -d 'Milliseconds between the starts of two clients; 0 starts them as fast as possible' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l rate -d 'Clients that start per second, such as 500 or 500/s, per minute (30/m) or per hour (100/h), in place of --interval' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l ramp -d 'A rate that rises or falls steadily from the one to the other within the duration, and then stays, such as 10..1000/60s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l steps -d 'Rates that follow each other, each for its duration, such as 100:30s,500:30s,1000. The last one stays until every client has started; 0 pauses' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l burst -d 'That many clients at once, and again after each duration, such as 500/10s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l hold -d 'How long to keep the connections once every client has connected or failed, such as 30s, 5m or 1h30m. Without it they are kept until Ctrl-C' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l in-progress -d 'How many attempts may be in progress at a time. Too many overflow the accept queue of the broker, and then measure retransmissions of one second' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s n -l parallel -d 'Worker threads [default: one per processor]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l processes -d 'Processes to deal the clients to, of the same program [default: as many as the limit of open files makes necessary]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l part -d 'Which of these processes this one is; given by the one that starts them' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l connect-timeout -d 'How long a client may take from its start to its CONNACK' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l seed -d 'The number that the client identifiers are made from. Runs with the same seed have the same clients; two runs at the same time need different ones. Default: random' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s V -l version -d 'Version of MQTT: 3 (for 3.1), 4 (for 3.1.1) or 5' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s k -l keepalive -d 'Keep-alive interval in seconds; 0 turns it off' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s u -l user -d 'User name of every client, with the places of --publish' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s p -l password -d 'Password of every client. Other users of this machine can see it in the list of processes: --pw-file, --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable counts where there is a user name and no other password' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l pw-file -d 'File with the password; one final newline is dropped' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s c -l clean_session -d 'Whether the clients start clean sessions; with false, the broker keeps their sessions' -r -f -a "true\t''
false\t''"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l will-topic -d 'Topic of the message that the broker publishes for each client that it loses' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l will-msg -d 'Payload of that message; empty if not given' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l will-qos -d 'Quality of service of that message: 0, 1 or 2' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s I -l id -d 'Client identifiers, with the places of --publish, such as device-%i [default: midge-SEED-INDEX in hexadecimal]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l clients -d 'File of comma-separated values with a row for each client. Its first line names the columns, of which there are client_id, user, password, cert and key; the last two are files in PEM form. What a row leaves empty comes from the other options' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l backoff -d 'How long clients wait before they connect again: a random time of at most FIRST, whose bound doubles from attempt to attempt up to MAX' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l churn -d 'Connections per second to end with a DISCONNECT and make again while they are held' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l storm -d 'Cut a part of the connections at once, at that time after the start of the load, such as drop=50%@30s; the clients come back by --backoff. May be repeated' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l publish -d 'Topic that each client publishes to. Of the text, %i is replaced by the index of the client, %c by its client identifier, %u by its user name, %r by digits that look random, %s by the seed, and %% by a percent sign' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l message -d 'Payload of these messages; empty if neither this nor --size is given' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l size -d 'Length in bytes of a payload of filler, in place of --message' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l every -d 'Time between two messages of one client' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l subscribe -d 'Filter that each client subscribes to, with the places of --publish' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s q -l qos -d 'Quality of service of --publish and --subscribe: 0, 1 or 2' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l slo -d 'An objective, such as \'connack.p99<50ms\', \'fail.rate<0.1%\' or \'hold.drops==0\': a phase with .pNN, .min, .max, .mean or .n; or fail.rate, fail.count, hold.drops, hold.drop_rate, rate.achieved, connected.count, open.peak, late.starts. May be given several times. With objectives, they alone decide whether the load has passed' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l abort-on-slo -d 'Give the load up once an objective that only gets worse has been missed for this long' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l find -d 'Search the highest rate at which the objectives are met, with a short load at each rate. It begins with the rate given (-i or --rate); -C is the most clients of one load' -r -f -a "max-rate\t'The highest rate of starts'"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l shard -d 'Start shard I of N: those of the COUNT clients whose index leaves the remainder I when divided by N. With \'auto\', I and N come from the scheduler: JOB_COMPLETION_INDEX (and SHARDS), SLURM_ARRAY_TASK_ID, SLURM_PROCID, or PARALLEL_SEQ (and SHARDS). With I missing, as in /N, only I does' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l start-at -d 'Start the first client at this instant: RFC 3339, such as 2030-01-31T12:00:00Z, or a time from now, such as +30s' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l barrier -d 'Start together with the other shards: the URL of a broker, with a topic, over which they find each other. Shard 0 publishes the instant once all of them are there' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l json -d 'Write the report to this file as well, as JSON' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l hlog -d 'Write the distribution of each phase in each second to this file, as an HdrHistogram log' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l html -d 'Write the report to this file as a page with charts, which needs nothing else to be read' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l csv -d 'Write the counters and latencies of each second to this file, as comma-separated values' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l prometheus -d 'Serve metrics to Prometheus at http://ADDRESS/metrics while the load runs; a port alone means 127.0.0.1' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l cafile -l cacert -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s E -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s s -l secure -d 'Use TLS, as tls+mqtt-tcp:// and the options that name a CA do too'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l embedded -d 'Connect to a null broker inside this process instead, which needs nothing installed'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l pw-prompt -d 'Ask for the password on the terminal'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l will-retain -d 'Retain that message'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l reconnect -d 'Have clients connect again that failed to connect or lost their connections'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s r -l retain -d 'Retain the messages of --publish'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l force -d 'Start even though the clock of this machine is not synchronised'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l quiet -d 'Print no progress. The report is printed in any case'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -s v -l verbose -d 'Print a line for each client that fails or loses its connection'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand check" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand calibrate" -s C -l count -d 'How many clients connect in each round' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand calibrate" -l rounds -d 'How often to measure' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand calibrate" -s n -l parallel -d 'Worker threads [default: one per processor]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand calibrate" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l slo -d 'Evaluate this objective, in place of those in the reports. May be given several times' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l json -d 'Write the report to this file as well, as JSON' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l hlog -d 'Write the distribution of each phase in each second to this file, as an HdrHistogram log' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l html -d 'Write the report to this file as a page with charts, which needs nothing else to be read' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l incomplete -d 'Merge even though reports of some shards are missing; their clients count as not started'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand merge" -l help -d 'Print this help'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand diff" -l threshold -d 'How much worse is a regression, in percent' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand diff" -l help -d 'Print this help'

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
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l url -d 'The broker, as mqtt-tcp://USER:PASSWORD@HOST:PORT; user, password and port may be left out. Other schemes: tls+mqtt-tcp (TLS), ws and wss (WebSocket, whose path follows the port), and unix:///PATH; mqtt and mqtts are other names of the first two' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s A -d 'Local address, or a name for one, to connect from' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
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
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l hold -d 'How long to keep the connections once every client has connected or failed, such as 30s, 5m or 1h30m. Without it they are kept until Ctrl-C' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l in-progress -d 'How many attempts may be in progress at a time. Too many overflow the accept queue of the broker, and then measure retransmissions of one second' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l connect-timeout -d 'How long a client may take from its start to its CONNACK' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l seed -d 'The number that the client identifiers are made from. Runs with the same seed have the same clients; two runs at the same time need different ones. Default: random' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s V -l version -d 'Version of MQTT: 3 (for 3.1), 4 (for 3.1.1) or 5' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s k -l keepalive -d 'Keep-alive interval in seconds; 0 turns it off' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s u -l user -d 'User name of every client' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s p -l password -d 'Password of every client. Other users of this machine can see it in the list of processes' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s c -l clean_session -d 'Whether the clients start clean sessions; with false, the broker keeps their sessions' -r -f -a "true\t''
false\t''"
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-topic -d 'Topic of the message that the broker publishes for each client that it loses' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-msg -d 'Payload of that message; empty if not given' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-qos -d 'Quality of service of that message: 0, 1 or 2' -r
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l json -d 'Write the report to this file as well, as JSON' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l cafile -l cacert -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s E -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s s -l secure -d 'Use TLS, as tls+mqtt-tcp:// and the options that name a CA do too'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l embedded -d 'Connect to a null broker inside this process instead, which needs nothing installed'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-retain -d 'Retain that message'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l quiet -d 'Print no progress. The report is printed in any case'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s v -l verbose -d 'Print a line for each client that fails or loses its connection'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l help -d 'Print this help'

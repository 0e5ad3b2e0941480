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
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l url -d 'The broker: mqtt-tcp://HOST:PORT or mqtt://HOST:PORT, with USER:PASSWORD@ before the host if it wants them. The port is 1883 if not given' -r
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
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l embedded -d 'Connect to a null broker inside this process instead, which needs nothing installed'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l will-retain -d 'Retain that message'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l quiet -d 'Print no progress. The report is printed in any case'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -s v -l verbose -d 'Print a line for each client that fails or loses its connection'
complete -c midge_conn -n "__fish_midge_conn_using_subcommand start" -l help -d 'Print this help'

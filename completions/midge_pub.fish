complete -c midge_pub -s t -l topic -d 'Topic to publish to' -r
complete -c midge_pub -s m -l message -d 'Publish this text' -r
complete -c midge_pub -s f -l file -d 'Publish the contents of a file' -r -F
complete -c midge_pub -s q -l qos -d 'Quality of service: 0, 1 or 2' -r
complete -c midge_pub -l repeat -d 'Publish the message this many times, one after the other. Not for -l' -r
complete -c midge_pub -l repeat-delay -d 'Seconds between the end of one publish and the next of --repeat; fractions are allowed' -r
complete -c midge_pub -s M -d 'Most messages of quality of service 1 and 2 on their way at a time [default: 100 for -l, but 20 for -l -q 2 before MQTT 5; otherwise 20]' -r
complete -c midge_pub -s h -l host -d 'Name or address of the broker' -r
complete -c midge_pub -s p -l port -d 'Port of the broker' -r
complete -c midge_pub -s L -l url -d 'Broker, credentials and topic in one, `mqtt://user:password@host:port/topic`; user, password and port may be left out. Of this and -h, -p, -u and -P, what is given later counts' -r
complete -c midge_pub -s k -l keepalive -d 'Seconds between signs of life when nothing else is sent (5 to 65535). The connection is given up when the broker leaves one unanswered, or takes longer than this to accept it' -r
complete -c midge_pub -s V -l protocol-version -d 'Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5)' -r
complete -c midge_pub -s i -l id -d 'Client identifier. Without it (and without -I) the broker chooses one' -r
complete -c midge_pub -s I -l id-prefix -d 'Client identifier made of this prefix and the process id' -r
complete -c midge_pub -s u -l username -d 'User name' -r
complete -c midge_pub -s P -l pw -d 'Password. Other users of this machine can see it in the list of processes' -r
complete -c midge_pub -l will-topic -d 'Topic of the message that the broker publishes when this client is lost' -r
complete -c midge_pub -l will-payload -d 'Payload of the will; empty if not given' -r
complete -c midge_pub -l will-qos -d 'Quality of service of the will: 0, 1 or 2' -r
complete -c midge_pub -s s -l stdin-file -d 'Publish everything on standard input as one message'
complete -c midge_pub -s l -l stdin-line -d 'Publish each line of standard input as a message. Lines wait while the connection is down'
complete -c midge_pub -s n -l null-message -d 'Publish an empty message'
complete -c midge_pub -s r -l retain -d 'Have the broker retain the message'
complete -c midge_pub -s c -l disable-clean-session -d 'Keep the session on the broker: subscriptions and messages that arrive while the client is away. Needs -i'
complete -c midge_pub -l will-retain -d 'Retain the will'
complete -c midge_pub -s d -l debug -d 'Print each packet sent and received, on standard output'
complete -c midge_pub -l quiet -d 'Print no errors; the exit code still tells'
complete -c midge_pub -l help -d 'Print this help'
complete -c midge_pub -l version -d 'Print the version'

complete -c midge_sub -s t -l topic -d 'Topic filter to subscribe to; may be given several times' -r
complete -c midge_sub -s q -l qos -d 'Highest quality of service to receive messages with: 0, 1 or 2' -r
complete -c midge_sub -s C -d 'Disconnect and exit after this many messages' -r
complete -c midge_sub -s W -d 'Exit with code 27 after this many seconds, however far things have come' -r
complete -c midge_sub -s F -l format -d 'Print each message in this format, such as \'%t: %p\' or, for JSON, \'%j\'; the manual page describes the language. -v does nothing then' -r
complete -c midge_sub -s h -l host -d 'Name or address of the broker' -r
complete -c midge_sub -s p -l port -d 'Port of the broker' -r
complete -c midge_sub -s L -l url -d 'Broker, credentials and topic in one, `mqtt://user:password@host:port/topic`; user, password and port may be left out. Of this and -h, -p, -u and -P, what is given later counts' -r
complete -c midge_sub -s k -l keepalive -d 'Seconds between signs of life when nothing else is sent (5 to 65535). The connection is given up when the broker leaves one unanswered, or takes longer than this to accept it' -r
complete -c midge_sub -s V -l protocol-version -d 'Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5)' -r
complete -c midge_sub -s i -l id -d 'Client identifier. Without it (and without -I) the broker chooses one' -r
complete -c midge_sub -s I -l id-prefix -d 'Client identifier made of this prefix and the process id' -r
complete -c midge_sub -s u -l username -d 'User name' -r
complete -c midge_sub -s P -l pw -d 'Password. Other users of this machine can see it in the list of processes' -r
complete -c midge_sub -l will-topic -d 'Topic of the message that the broker publishes when this client is lost' -r
complete -c midge_sub -l will-payload -d 'Payload of the will; empty if not given' -r
complete -c midge_sub -l will-qos -d 'Quality of service of the will: 0, 1 or 2' -r
complete -c midge_sub -s v -l verbose -d 'Print the topic before each payload'
complete -c midge_sub -s N -d 'Print no newline after each message'
complete -c midge_sub -l pretty -d 'Lay the JSON of %j and %J out on several lines'
complete -c midge_sub -s c -l disable-clean-session -d 'Keep the session on the broker: subscriptions and messages that arrive while the client is away. Needs -i'
complete -c midge_sub -l will-retain -d 'Retain the will'
complete -c midge_sub -s d -l debug -d 'Print each packet sent and received, on standard output'
complete -c midge_sub -l quiet -d 'Print no errors; the exit code still tells'
complete -c midge_sub -l help -d 'Print this help'
complete -c midge_sub -l version -d 'Print the version'

complete -c midge_pub -s t -l topic -d 'Topic to publish to. Given several times, every message is published to each of them' -r
complete -c midge_pub -l topic-template -d 'Topic made for each message, with words in braces, as in \'{topic}/{pid}\': n stands for the number of the message, from 1, topic for the topic it would have otherwise, time for the seconds since 1970, client for the client identifier, host for the name of this machine and pid for the process id; {{ and }} are braces' -r
complete -c midge_pub -s m -l message -d 'Publish this text' -r
complete -c midge_pub -s f -l file -d 'Publish the contents of a file' -r -F
complete -c midge_pub -l decode -d 'What the payload is written in: hex or base64. Hexadecimal digits may have white space, \':\' or \'-\' between bytes' -r
complete -c midge_pub -s q -l qos -d 'Quality of service: 0, 1 or 2 [default: 0; with --jsonl, as recorded]' -r
complete -c midge_pub -l repeat -d 'Publish the message this many times, one after the other. Not for -l and --jsonl' -r
complete -c midge_pub -l repeat-delay -d 'Seconds between the end of one publish and the next of --repeat; fractions are allowed' -r
complete -c midge_pub -l topic-separator -d 'Each line of -l is a topic, this text, and the payload. A line without this text is a payload for -t' -r
complete -c midge_pub -l speed -d 'How fast --jsonl publishes: as the messages were recorded (1), so many times as fast, or without a pause (max) [default: max]' -r
complete -c midge_pub -l spool -d 'Keep the messages of -l and --jsonl in this directory until the broker has confirmed them: lines are read while the broker is away, and what is left when the program ends, or is killed, is published by the next run with this directory. Needs -q 1 or -q 2. The session with the broker is kept too; without -i its client identifier is made up once' -r -F
complete -c midge_pub -l spool-limit -d 'No more lines are read while messages of this size together, in bytes or with a k, M or G behind the number, are in --spool. They are in memory too' -r
complete -c midge_pub -s h -l host -d 'Name or address of the broker. With -p 0, the path of its Unix socket' -r
complete -c midge_pub -s p -l port -d 'Port of the broker [default: 1883, or 8883 with --cafile, --capath or --psk]. Port 8883 turns TLS on; 0 means a Unix socket' -r
complete -c midge_pub -l unix -d 'Connect to the Unix socket at this path' -r -F
complete -c midge_pub -s L -l url -d 'Broker, credentials and topic in one, SCHEME://USER:PASSWORD@HOST:PORT/TOPIC; user, password and port may be left out. Schemes: mqtt, mqtts (TLS), ws and wss (WebSocket); unix:///PATH has no topic. Of this and -h, -p, --unix, -u and -P, what is given later counts' -r
complete -c midge_pub -s A -d 'Local address, or a name for one, to connect from' -r
complete -c midge_pub -s k -l keepalive -d 'Seconds between signs of life when nothing else is sent (5 to 65535). The connection is given up when the broker leaves one unanswered, or takes longer than this to accept it' -r
complete -c midge_pub -s V -l protocol-version -d 'Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5). -D and -x mean 5 where they stand behind it' -r
complete -c midge_pub -s W -d 'Exit with code 27 after this many seconds, however far things have come: looking up the broker and connecting count too' -r
complete -c midge_pub -s M -d 'Most messages of quality of service 1 and 2 on their way to the broker at a time [default: 20; for midge_pub -l and --jsonl 100, but 20 with quality of service 2 before MQTT 5]. A broker of MQTT 5 can lower it; before, there are never more than 20 of quality of service 2' -r
complete -c midge_pub -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_pub -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_pub -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_pub -l cafile -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_pub -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_pub -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_pub -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_pub -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
complete -c midge_pub -l tls-engine -d 'An engine of OpenSSL, of which there is none' -r
complete -c midge_pub -l tls-engine-kpass-sha1 -d 'The password of such an engine' -r
complete -c midge_pub -l keypass -d 'Passphrase of the private key. Other users of this machine can see it in the list of processes' -r
complete -c midge_pub -l keypass-file -d 'File with the passphrase of the private key; one final newline is dropped' -r -F
complete -c midge_pub -l tls-version -d 'Lowest version of TLS to accept [default: tlsv1.2]' -r -f -a "tlsv1.2\t''
tlsv1.3\t''"
complete -c midge_pub -l tls-alpn -d 'Protocol to ask for by ALPN, such as mqtt' -r
complete -c midge_pub -l tls-server-name -d 'Name to ask the broker for (SNI) and to look for in its certificate, in place of the host' -r
complete -c midge_pub -l ciphers -d 'Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others' -r
complete -c midge_pub -l crlfile -d 'PEM file with certificate revocation lists; may be repeated. Each certificate of the broker\'s chain must then be covered by a list that has not expired' -r -F
complete -c midge_pub -l tls-keylog -d 'File to append the secrets of the sessions to, for programs that analyse captured traffic. Whoever can read it can read the traffic' -r -F
complete -c midge_pub -l psk -d 'Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns TLS on, needs --psk-identity, and a build with the feature psk' -r
complete -c midge_pub -l psk-identity -d 'Name of the key of --psk' -r
complete -c midge_pub -s i -l id -d 'Client identifier. Without it (and without -I) the broker chooses one' -r
complete -c midge_pub -s I -l id-prefix -d 'Client identifier made of this prefix and the process id' -r
complete -c midge_pub -s x -d 'Seconds that the session outlives the connection; -1 or ∞ is for ever and needs -i. It means MQTT 5' -r
complete -c midge_pub -s u -l username -d 'User name' -r
complete -c midge_pub -s P -l pw -d 'Password. Other users of this machine can see it in the list of processes: --pw-file, --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable counts where there is a user name and no other password' -r
complete -c midge_pub -l pw-file -d 'File with the password; one final newline is dropped' -r -F
complete -c midge_pub -l will-topic -d 'Topic of the message that the broker publishes when this client is lost' -r
complete -c midge_pub -l will-payload -d 'Payload of the will; empty if not given' -r
complete -c midge_pub -l will-qos -d 'Quality of service of the will: 0, 1 or 2' -r
complete -c midge_pub -s D -l property -d 'Add a property to a packet; may be repeated, and means MQTT 5. PACKET is one of connect, publish, subscribe, unsubscribe, disconnect, auth and will, PROPERTY a name of the standard such as content-type. A user-property has two values, its name and its value. Numbers are decimal; correlation-data and authentication-data are the bytes of the word. Those of auth answer each challenge of the broker to an authentication-method of connect' -r
complete -c midge_pub -s o -d 'Read options from this file, one a line, before those of the command line. By default they are read from the file with the name of the program, or of mosquitto\'s, in $XDG_CONFIG_HOME or ~/.config, if there is one' -r -F
complete -c midge_pub -s s -l stdin-file -d 'Publish everything on standard input as one message'
complete -c midge_pub -s l -l stdin-line -d 'Publish each line of standard input as a message. Lines wait while the connection is down'
complete -c midge_pub -s n -l null-message -d 'Publish an empty message'
complete -c midge_pub -s r -l retain -d 'Have the broker retain the message. With --jsonl, every message'
complete -c midge_pub -l jsonl -d 'Publish each line of standard input as the message it describes, in the form of \'midge_sub -F %j\'. Speaks MQTT 5 unless -V says otherwise'
complete -c midge_pub -l spool-sync -d 'Have the messages of --spool survive a power failure too: each waits for the disk'
complete -c midge_pub -l ws -d 'Speak MQTT over WebSocket'
complete -c midge_pub -s S -d 'Look up the brokers of the domain -h in its DNS SRV records. Needs a build with the feature srv'
complete -c midge_pub -l nodelay -d 'Send small packets at once (TCP_NODELAY). They always are; the option is there for scripts'
complete -c midge_pub -l retry -d 'Go on trying when the first attempt to connect fails for a reason that may pass. Between two attempts passes a random time, which grows from one second to thirty'
complete -c midge_pub -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_pub -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_pub -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_pub -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_pub -s c -l disable-clean-session -d 'Keep the session on the broker: subscriptions and messages that arrive while the client is away. In MQTT 5 it never expires unless -x says when. Needs -i'
complete -c midge_pub -l pw-prompt -d 'Ask for the password on the terminal'
complete -c midge_pub -l will-retain -d 'Retain the will'
complete -c midge_pub -s d -l debug -d 'Print each packet sent and received, on standard output'
complete -c midge_pub -l quiet -d 'Print no errors; the exit code still tells'
complete -c midge_pub -l help -d 'Print this help'
complete -c midge_pub -l version -d 'Print the version'

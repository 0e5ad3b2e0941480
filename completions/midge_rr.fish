complete -c midge_rr -s t -l topic -d 'Topic to publish the request to' -r
complete -c midge_rr -s e -d 'Topic that the answer is published to. In MQTT 5 one is made if it is not given: of what the broker says, or else midge/response/ and a random number' -r
complete -c midge_rr -s m -l message -d 'Publish this text' -r
complete -c midge_rr -s f -l file -d 'Publish the contents of a file' -r -F
complete -c midge_rr -s q -l qos -d 'Quality of service of the request, and highest one of the answer: 0, 1 or 2' -r
complete -c midge_rr -s C -d 'Wait for this many answers, as of several devices that hear the same request' -r
complete -c midge_rr -l retain-handling -d 'When the broker sends what it has retained for the response topic (MQTT 5) [default: always, with -R never]' -r -f -a "always\t'At each subscribe'
new\t'When the session does not have the subscription yet'
never\t'Never'"
complete -c midge_rr -s F -l format -d 'Print each message in this format, such as \'%t: %p\' or, for JSON, \'%j\'; the manual page describes the language. -v does nothing then' -r
complete -c midge_rr -l color -d 'When to colour topics (-v) and the names in JSON. \'auto\' is on a terminal, unless NO_COLOR is set' -r -f -a "auto\t'On a terminal that can show them'
always\t'Also in files and pipes'
never\t'Never'"
complete -c midge_rr -s h -l host -d 'Name or address of the broker. With -p 0, the path of its Unix socket' -r
complete -c midge_rr -s p -l port -d 'Port of the broker [default: 1883, or 8883 with --cafile, --capath or --psk]. Port 8883 turns TLS on; 0 means a Unix socket' -r
complete -c midge_rr -l unix -d 'Connect to the Unix socket at this path' -r -F
complete -c midge_rr -s L -l url -d 'Broker, credentials and topic in one, SCHEME://USER:PASSWORD@HOST:PORT/TOPIC; user, password and port may be left out. Schemes: mqtt, mqtts (TLS), ws and wss (WebSocket); unix:///PATH has no topic. Of this and -h, -p, --unix, -u and -P, what is given later counts' -r
complete -c midge_rr -s A -d 'Local address, or a name for one, to connect from' -r
complete -c midge_rr -s k -l keepalive -d 'Seconds between signs of life when nothing else is sent (5 to 65535). The connection is given up when the broker leaves one unanswered, or takes longer than this to accept it' -r
complete -c midge_rr -s W -d 'Exit with code 27 after this many seconds, however far things have come: looking up the broker and connecting count too' -r
complete -c midge_rr -s M -d 'Most messages of quality of service 1 and 2 on their way to the broker at a time [default: 20; for midge_pub -l and --jsonl 100, but 20 with quality of service 2 before MQTT 5]. A broker of MQTT 5 can lower it; before, there are never more than 20 of quality of service 2' -r
complete -c midge_rr -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_rr -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_rr -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_rr -l cafile -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_rr -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_rr -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_rr -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_rr -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
complete -c midge_rr -l tls-engine -d 'An engine of OpenSSL, of which there is none' -r
complete -c midge_rr -l tls-engine-kpass-sha1 -d 'The password of such an engine' -r
complete -c midge_rr -l keypass -d 'Passphrase of the private key. Other users of this machine can see it in the list of processes' -r
complete -c midge_rr -l keypass-file -d 'File with the passphrase of the private key; one final newline is dropped' -r -F
complete -c midge_rr -l tls-version -d 'Lowest version of TLS to accept [default: tlsv1.2]' -r -f -a "tlsv1.2\t''
tlsv1.3\t''"
complete -c midge_rr -l tls-alpn -d 'Protocol to ask for by ALPN, such as mqtt' -r
complete -c midge_rr -l tls-server-name -d 'Name to ask the broker for (SNI) and to look for in its certificate, in place of the host' -r
complete -c midge_rr -l ciphers -d 'Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others' -r
complete -c midge_rr -l crlfile -d 'PEM file with certificate revocation lists; may be repeated. Each certificate of the broker\'s chain must then be covered by a list that has not expired' -r -F
complete -c midge_rr -l tls-keylog -d 'File to append the secrets of the sessions to, for programs that analyse captured traffic. Whoever can read it can read the traffic' -r -F
complete -c midge_rr -l psk -d 'Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns TLS on, needs --psk-identity, and a build with the feature psk' -r
complete -c midge_rr -l psk-identity -d 'Name of the key of --psk' -r
complete -c midge_rr -s i -l id -d 'Client identifier. Without it (and without -I) the broker chooses one' -r
complete -c midge_rr -s I -l id-prefix -d 'Client identifier made of this prefix and the process id' -r
complete -c midge_rr -s x -d 'Seconds that the session outlives the connection; -1 or ∞ is for ever and needs -i. It means MQTT 5' -r
complete -c midge_rr -s u -l username -d 'User name' -r
complete -c midge_rr -s P -l pw -d 'Password. Other users of this machine can see it in the list of processes: --pw-file, --pw-prompt and the environment variable MIDGE_PASSWORD keep it out. The variable counts where there is a user name and no other password' -r
complete -c midge_rr -l pw-file -d 'File with the password; one final newline is dropped' -r -F
complete -c midge_rr -l will-topic -d 'Topic of the message that the broker publishes when this client is lost' -r
complete -c midge_rr -l will-payload -d 'Payload of the will; empty if not given' -r
complete -c midge_rr -l will-qos -d 'Quality of service of the will: 0, 1 or 2' -r
complete -c midge_rr -s D -l property -d 'Add a property to a packet; may be repeated, and means MQTT 5. PACKET is one of connect, publish, subscribe, unsubscribe, disconnect, auth and will, PROPERTY a name of the standard such as content-type. A user-property has two values, its name and its value. Numbers are decimal; correlation-data and authentication-data are the bytes of the word. Those of auth answer each challenge of the broker to an authentication-method of connect' -r
complete -c midge_rr -s o -d 'Read options from this file, one a line, before those of the command line. By default they are read from the file with the name of the program, or of mosquitto\'s, in $XDG_CONFIG_HOME or ~/.config, if there is one' -r -F
complete -c midge_rr -s V -l protocol-version -d 'Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5). -D and -x mean 5 where they stand behind it' -r
complete -c midge_rr -s s -l stdin-file -d 'Publish everything on standard input as one message'
complete -c midge_rr -s n -l null-message -d 'Publish an empty message'
complete -c midge_rr -l no-correlation -d 'Send no correlation data and take the first message on the response topic for the answer. Without it, an answer in MQTT 5 is what carries the correlation data of the request'
complete -c midge_rr -s R -d 'Have the broker send nothing that it has retained for the response topic (MQTT 5). That is never taken for an answer: it is older than the request'
complete -c midge_rr -l retain-as-published -d 'Have the broker deliver answers with the retain flag they were published with (MQTT 5)'
complete -c midge_rr -l latency -d 'Print the time from the request to each answer behind the answer'
complete -c midge_rr -s v -l verbose -d 'Print the topic before each payload'
complete -c midge_rr -s N -d 'Print no newline after each message'
complete -c midge_rr -l json -d 'Print each message as a JSON object on a line of its own, as \'%j\' does'
complete -c midge_rr -l csv -d 'Print comma-separated values, with a line of column names first. Topics and payloads stay as received: a spreadsheet can take one that begins with \'=\' for a formula'
complete -c midge_rr -l pretty -d 'Lay the JSON of %j and %J out on several lines'
complete -c midge_rr -l ws -d 'Speak MQTT over WebSocket'
complete -c midge_rr -s S -d 'Look up the brokers of the domain -h in its DNS SRV records. Needs a build with the feature srv'
complete -c midge_rr -l nodelay -d 'Send small packets at once (TCP_NODELAY). They always are; the option is there for scripts'
complete -c midge_rr -l retry -d 'Go on trying when the first attempt to connect fails for a reason that may pass. Between two attempts passes a random time, which grows from one second to thirty'
complete -c midge_rr -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_rr -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_rr -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_rr -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_rr -s c -l disable-clean-session -d 'Keep the session on the broker: subscriptions and messages that arrive while the client is away. In MQTT 5 it never expires unless -x says when. Needs -i'
complete -c midge_rr -l pw-prompt -d 'Ask for the password on the terminal'
complete -c midge_rr -l will-retain -d 'Retain the will'
complete -c midge_rr -s d -l debug -d 'Print each packet sent and received, on standard output'
complete -c midge_rr -l quiet -d 'Print no errors; the exit code still tells'
complete -c midge_rr -l help -d 'Print this help'
complete -c midge_rr -l version -d 'Print the version'
complete -c midge_rr -s l -l stdin-line -d 'Publish each line of standard input as a message. Lines wait while the connection is down'

complete -c midge_sub -s t -l topic -d 'Topic filter to subscribe to; may be given several times' -r
complete -c midge_sub -s q -l qos -d 'Highest quality of service to receive messages with: 0, 1 or 2' -r
complete -c midge_sub -s C -d 'Disconnect and exit after this many messages' -r
complete -c midge_sub -s W -d 'Exit with code 27 after this many seconds, however far things have come' -r
complete -c midge_sub -s F -l format -d 'Print each message in this format, such as \'%t: %p\' or, for JSON, \'%j\'; the manual page describes the language. -v does nothing then' -r
complete -c midge_sub -s h -l host -d 'Name or address of the broker. With -p 0, the path of its Unix socket' -r
complete -c midge_sub -s p -l port -d 'Port of the broker [default: 1883, or 8883 with --cafile, --capath or --psk]. Port 8883 turns TLS on; 0 means a Unix socket' -r
complete -c midge_sub -l unix -d 'Connect to the Unix socket at this path' -r -F
complete -c midge_sub -s L -l url -d 'Broker, credentials and topic in one, SCHEME://USER:PASSWORD@HOST:PORT/TOPIC; user, password and port may be left out. Schemes: mqtt, mqtts (TLS), ws and wss (WebSocket); unix:///PATH has no topic. Of this and -h, -p, --unix, -u and -P, what is given later counts' -r
complete -c midge_sub -s A -d 'Local address, or a name for one, to connect from' -r
complete -c midge_sub -s k -l keepalive -d 'Seconds between signs of life when nothing else is sent (5 to 65535). The connection is given up when the broker leaves one unanswered, or takes longer than this to accept it' -r
complete -c midge_sub -s V -l protocol-version -d 'Version of MQTT: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5)' -r
complete -c midge_sub -l proxy -d 'Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080) may be left out. It looks up the name of the broker' -r
complete -c midge_sub -l ws-path -d 'Path, and query, to open the WebSocket at [default: /mqtt]' -r
complete -c midge_sub -l ws-header -d 'Header to add to the HTTP request that opens the WebSocket, \'NAME: VALUE\'; may be repeated' -r
complete -c midge_sub -l cafile -d 'PEM file with the certificates of the authorities to trust, in place of the system\'s. It turns TLS on' -r -F
complete -c midge_sub -l capath -d 'Directory with such files, named *.pem, *.crt, *.cer or as "openssl rehash" names them. It turns TLS on' -r -F
complete -c midge_sub -l cert -d 'PEM file with the client\'s certificate, and those of its issuers behind it. Needs --key' -r -F
complete -c midge_sub -l key -d 'PEM file with the private key of the client\'s certificate. The passphrase of an encrypted one is asked for, once, unless --keypass-file or --keypass gives it' -r -F
complete -c midge_sub -l keyform -d 'Form of the private key: only pem. Engines are not supported' -r
complete -c midge_sub -l keypass -d 'Passphrase of the private key. Other users of this machine can see it in the list of processes' -r
complete -c midge_sub -l keypass-file -d 'File with the passphrase of the private key; one final newline is dropped' -r -F
complete -c midge_sub -l tls-version -d 'Lowest version of TLS to accept [default: tlsv1.2]' -r -f -a "tlsv1.2\t''
tlsv1.3\t''"
complete -c midge_sub -l tls-alpn -d 'Protocol to ask for by ALPN, such as mqtt' -r
complete -c midge_sub -l tls-server-name -d 'Name to ask the broker for (SNI) and to look for in its certificate, in place of the host' -r
complete -c midge_sub -l ciphers -d 'Cipher suites to offer, by their IANA or OpenSSL names with colons between, and no others' -r
complete -c midge_sub -l crlfile -d 'PEM file with certificate revocation lists; may be repeated. Each certificate of the broker\'s chain must then be covered by a list that has not expired' -r -F
complete -c midge_sub -l tls-keylog -d 'File to append the secrets of the sessions to, for programs that analyse captured traffic. Whoever can read it can read the traffic' -r -F
complete -c midge_sub -l psk -d 'Key that the broker shares with the client, in hexadecimal, in place of certificates. It turns TLS on, needs --psk-identity, and a build with the feature psk' -r
complete -c midge_sub -l psk-identity -d 'Name of the key of --psk' -r
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
complete -c midge_sub -l ws -d 'Speak MQTT over WebSocket'
complete -c midge_sub -s S -d 'Look up the brokers of the domain -h in its DNS SRV records. Needs a build with the feature srv'
complete -c midge_sub -l nodelay -d 'Send small packets at once (TCP_NODELAY). They always are; the option is there for scripts'
complete -c midge_sub -l tls-use-os-certs -d 'Trust the authorities of the system; with --cafile or --capath, those too. It turns TLS on, as port 8883 does by itself'
complete -c midge_sub -l insecure -d 'Do not check that the broker\'s certificate is for the host; everything else is checked. Whoever has a certificate of a trusted authority can then pose as the broker'
complete -c midge_sub -l insecure-accept-any-certificate -d 'Check nothing about the broker\'s certificate. Anybody on the way can then pose as the broker, and read and change everything'
complete -c midge_sub -l no-tls -d 'No TLS, whatever the other options and the port say'
complete -c midge_sub -s c -l disable-clean-session -d 'Keep the session on the broker: subscriptions and messages that arrive while the client is away. Needs -i'
complete -c midge_sub -l will-retain -d 'Retain the will'
complete -c midge_sub -s d -l debug -d 'Print each packet sent and received, on standard output'
complete -c midge_sub -l quiet -d 'Print no errors; the exit code still tells'
complete -c midge_sub -l help -d 'Print this help'
complete -c midge_sub -l version -d 'Print the version'

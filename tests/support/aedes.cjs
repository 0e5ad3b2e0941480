// Runs an aedes broker: node aedes.cjs DIRECTORY PORT WEBSOCKET_PORT, where npm has installed aedes
// and ws into DIRECTORY.
const { createRequire } = require('node:module')
const { createServer } = require('node:net')
const http = require('node:http')

const [directory, port, webSocketPort] = process.argv.slice(2)
const installed = createRequire(directory + '/package.json')
const { Aedes } = installed('aedes')
const { WebSocketServer, createWebSocketStream } = installed('ws')

Aedes.createBroker().then((broker) => {
  const web = http.createServer()
  new WebSocketServer({ server: web }).on('connection', (socket, request) => {
    broker.handle(createWebSocketStream(socket), request)
  })
  createServer(broker.handle).listen(Number(port), '127.0.0.1', () => {
    web.listen(Number(webSocketPort), '127.0.0.1', () => console.error('aedes is listening'))
  })
})

// The MCP client of @modelcontextprotocol/sdk with `mostrodex mcp`:
//   node mcp.mjs PROGRAM ARG...
// It lists the tools, calls some of them and prints one JSON object.

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'

const client = new Client({ name: 'interop', version: '1.0.0' })
await client.connect(new StdioClientTransport({ command: process.argv[2], args: process.argv.slice(3), stderr: 'inherit', env: process.env }))
const call = async (name, args) => {
  const answer = await client.callTool({ name, arguments: args })
  return { error: Boolean(answer.isError), text: answer.content[0].text }
}
const { tools } = await client.listTools()
console.log(JSON.stringify({
  server: client.getServerVersion(),
  instructions: client.getInstructions(),
  tools: tools.map((t) => ({ name: t.name, readOnly: t.annotations?.readOnlyHint })),
  search: await call('search_orders', { fiat: 'VES', limit: 5 }),
  wrong: await call('search_orders', { side: 'up' }),
  choose: await call('choose', { fiat: 'VES', side: 'buy' }),
  market: await call('market', { fiat: 'VES' }),
}))
await client.close()

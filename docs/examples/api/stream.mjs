// Two changes of the book, and the id with which a client goes on after a break. A page in a
// browser uses EventSource, which resumes by itself.
// Usage: node stream.mjs [SERVER [LAST_EVENT_ID]]
const server = process.argv[2] ?? 'http://localhost:7777'
const headers = process.argv[3] ? { 'Last-Event-ID': process.argv[3] } : {}
const answer = await fetch(`${server}/api/v1/stream?fiat=USD`, { headers })
if (!answer.ok) throw new Error((await answer.json()).detail)
let text = '', event = '', id = '', changes = 0
for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
  text += part
  for (let end; changes < 2 && (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) {
    const [, field, value] = text.slice(0, end).match(/^(\w+): (.*)$/) ?? []
    if (field === 'event') event = value
    if (field === 'id') id = value
    if (field === 'data') {
      console.log(event, JSON.parse(value).d)
      changes++
    }
  }
  if (changes === 2) break
}
console.log('go on after', id)

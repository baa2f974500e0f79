// Share of the orders that each instance completed in the last 30 days, and the number of orders.
// Usage: node instances.mjs [SERVER]
const server = process.argv[2] ?? 'http://localhost:7777'
const answer = await fetch(`${server}/api/v1/stats/groups?metric=orders.completion_rate&split=instance`)
if (!answer.ok) throw new Error((await answer.json()).detail)
for (const { group, value, events } of (await answer.json()).groups) {
  console.log(group.slice(0, 8), value ?? 'unknown', events)
}

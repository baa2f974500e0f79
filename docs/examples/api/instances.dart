// Share of the orders that each instance completed in the last 30 days, and the number of orders.
// Usage: dart run instances.dart [SERVER]
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> args) async {
  final server = args.isEmpty ? 'http://localhost:7777' : args[0];
  final address = Uri.parse('$server/api/v1/stats/groups?metric=orders.completion_rate&split=instance');
  final client = HttpClient();
  final answer = await (await client.getUrl(address)).close();
  final body = jsonDecode(await utf8.decodeStream(answer));
  client.close();
  if (answer.statusCode != 200) throw body['detail'];
  for (final group in body['groups']) {
    print("${group['group'].substring(0, 8)} ${group['value'] ?? 'unknown'} ${group['events']}");
  }
}

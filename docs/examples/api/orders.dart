// Three cheapest orders for 100 USD: name, sats to receive, cost in percent.
// Usage: dart run orders.dart [SERVER]
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> args) async {
  final server = args.isEmpty ? 'http://localhost:7777' : args[0];
  final address = Uri.parse('$server/api/v1/orders').replace(queryParameters: {
    'fiat': 'USD', 'side': 'sell', 'fiat_amount': '100', 'sort': 'cost', 'limit': '3'});
  final client = HttpClient();
  final answer = await (await client.getUrl(address)).close();
  final body = jsonDecode(await utf8.decodeStream(answer));
  client.close();
  if (answer.statusCode != 200) throw body['detail'];
  for (final order in body['items']) {
    final price = order['price'];
    if (price?['sats'] != null) print("${order['d']} ${price['sats']} ${price['cost_pct']}");
  }
}

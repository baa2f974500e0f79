// Implied price of one bitcoin by day: time, price, number of prices.
// Usage: dart run series.dart [SERVER]
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> args) async {
  final server = args.isEmpty ? 'http://localhost:7777' : args[0];
  final address = Uri.parse('$server/api/v1/market/USD/series?metric=implied_rate&by=day');
  final client = HttpClient();
  final answer = await (await client.getUrl(address)).close();
  final body = jsonDecode(await utf8.decodeStream(answer));
  client.close();
  if (answer.statusCode != 200) throw body['detail'];
  for (final point in body['rates']) {
    if (point['rate'] != null) print("${point['from']} ${point['rate']} ${point['samples']}");
  }
}

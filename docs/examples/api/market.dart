// Best bid, best ask and rate of a market, the prices per bitcoin.
// Usage: dart run market.dart [SERVER]
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> args) async {
  final server = args.isEmpty ? 'http://localhost:7777' : args[0];
  final client = HttpClient();
  final answer = await (await client.getUrl(Uri.parse('$server/api/v1/market/USD'))).close();
  final market = jsonDecode(await utf8.decodeStream(answer));
  client.close();
  if (answer.statusCode != 200) throw market['detail'];
  for (final name in ['bid', 'ask', 'rate']) {
    print("$name ${market[name]?['price'] ?? 'unknown'}");
  }
}

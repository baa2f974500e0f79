// Two changes of the book, and the id with which a client goes on after a break.
// Usage: dart run stream.dart [SERVER [LAST_EVENT_ID]]
import 'dart:convert';
import 'dart:io';

Future<void> main(List<String> args) async {
  final server = args.isEmpty ? 'http://localhost:7777' : args[0];
  final client = HttpClient();
  final request = await client.getUrl(Uri.parse('$server/api/v1/stream?fiat=USD'));
  if (args.length > 1) request.headers.set('Last-Event-ID', args[1]);
  final answer = await request.close();
  if (answer.statusCode != 200) throw await utf8.decodeStream(answer);
  var event = '', last = '', changes = 0;
  await for (final line in utf8.decoder.bind(answer).transform(const LineSplitter())) {
    final colon = line.indexOf(': ');
    final field = colon < 0 ? '' : line.substring(0, colon), value = colon < 0 ? '' : line.substring(colon + 2);
    if (field == 'event') event = value;
    if (field == 'id') last = value;
    if (field == 'data') {
      print("$event ${jsonDecode(value)['d']}");
      if (++changes == 2) break;
    }
  }
  client.close(force: true);
  print('go on after $last');
}

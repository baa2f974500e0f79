// Mostros for a trade, from a mostrodex server: by one request, or by one subscription to its
// relay (NIP-85). This file has no dependency; an app passes the check of signatures of its
// Nostr library.
//
// Usage: dart run mostros.dart choose SERVER FIAT SIDE [AMOUNT]
import 'dart:async';
import 'dart:convert';
import 'dart:io';

/// A Mostro that serves a trade. The server lists the best first.
class Mostro {
  Mostro(this.pubkey, this.name, this.rank, this.watchedDays, this.fee, this.offers, this.takeLink, this.warnings);
  final String pubkey;
  final String? name;

  /// 0 to 100. null: no rank yet, and watchedDays may say why. Never show null as 0.
  final int? rank;
  final int? watchedDays;

  /// Fraction of the amount for both sides together.
  final String? fee;

  /// Offers that fit now. 0: the user can publish an order there.
  final int offers;
  final String? takeLink;

  /// Facts that the user must see before a trade.
  final List<String> warnings;

  Map<String, Object?> toJson() => {
        'pubkey': pubkey, 'name': name, 'rank': rank, 'watchedDays': watchedDays,
        'fee': fee, 'offers': offers, 'takeLink': takeLink, 'warnings': warnings,
      };
}

final _key = RegExp(r'^[0-9a-f]{64}$');
String? _text(Object? x) => x is String && x.length <= 500 ? x : null;
int? _whole(Object? x) => x is int ? x : null;
List<Object?> _list(Object? x) => x is List ? x.take(100).toList() : const [];

/// Asks a server for the Mostros of a trade. An entry that is not understood is left out. The
/// future fails if the server cannot be reached or refuses the request: use your own list then.
Future<List<Mostro>> chooseMostros(String server, {required String fiat, required String side, String? amount, String? method}) async {
  final address = Uri.parse('$server/api/v1/choose').replace(queryParameters: {
    'fiat': fiat, 'side': side, if (amount != null) 'amount': amount, if (method != null) 'method': method,
  });
  final client = HttpClient()..connectionTimeout = const Duration(seconds: 10);
  try {
    final answer = await (await client.getUrl(address)).close().timeout(const Duration(seconds: 10));
    final body = jsonDecode(await utf8.decodeStream(answer).timeout(const Duration(seconds: 10)));
    if (answer.statusCode != 200) throw HttpException(_text(body is Map ? body['detail'] : null) ?? 'status ${answer.statusCode}');
    final out = <Mostro>[];
    for (final c in _list(body is Map ? body['candidates'] : null)) {
      if (c is! Map || c['pubkey'] is! String || !_key.hasMatch(c['pubkey'] as String)) continue;
      final best = c['best_offer'];
      final link = _text(best is Map ? best['take_link'] : null);
      out.add(Mostro(
        c['pubkey'] as String, _text(c['name']), _whole(c['rank']), _whole(c['watched_days']),
        c['fee'] == null ? null : _text('${c['fee']}'), _whole(c['offers']) ?? 0,
        link != null && link.startsWith('mostro:') ? link : null,
        _list(c['warnings']).whereType<String>().toList(),
      ));
    }
    return out;
  } finally {
    client.close(force: true);
  }
}

/// Follows the ranks that a server publishes (NIP-85, kind 30382). provider is the key of the
/// server's ranks. verify checks id and signature of an event. The stream has the ranks after the
/// stored events, and after each change. It ends with the connection.
Stream<Map<String, int>> watchRanks(String relay, String provider, bool Function(Map<String, Object?>) verify) async* {
  final socket = await WebSocket.connect(relay);
  socket.add(jsonEncode(['REQ', 'ranks', {'kinds': [30382], 'authors': [provider]}]));
  final newest = <String, Map<String, Object?>>{}, ranks = <String, int>{};
  var stored = false;
  await for (final message in socket) {
    Object? frame;
    try {
      frame = jsonDecode('$message');
    } on FormatException {
      continue;
    }
    if (frame is! List || frame.length < 2 || frame[1] != 'ranks') continue;
    if (frame[0] == 'CLOSED') break;
    if (frame[0] == 'EOSE') stored = true;
    if (frame[0] == 'EVENT') {
      final e = frame.length > 2 && frame[2] is Map ? Map<String, Object?>.from(frame[2] as Map) : <String, Object?>{};
      if (e['kind'] != 30382 || e['pubkey'] != provider || e['tags'] is! List || e['created_at'] is! int || e['id'] is! String) continue;
      String? tag(String name) {
        for (final t in e['tags'] as List) {
          if (t is List && t.length > 1 && t[0] == name) return '${t[1]}';
        }
        return null;
      }

      final about = tag('d'), rank = int.tryParse(tag('rank') ?? '');
      if (about == null || !_key.hasMatch(about) || rank == null || rank < 0 || rank > 100) continue;
      final old = newest[about];
      if (old != null) {
        final was = old['created_at'] as int, now = e['created_at'] as int;
        if (now < was || now == was && (e['id'] as String).compareTo(old['id'] as String) >= 0) continue;
      } else if (newest.length >= 5000) {
        continue;
      }
      if (!verify(e)) continue;
      newest[about] = e;
      ranks[about] = rank;
    }
    if (stored) yield Map.of(ranks);
  }
  await socket.close();
}

Future<void> main(List<String> args) async {
  try {
    final found = await chooseMostros(args[1], fiat: args[2], side: args[3], amount: args.length > 4 ? args[4] : null);
    print(jsonEncode(found));
  } on HttpException catch (e) {
    print(jsonEncode({'error': e.message}));
  }
}

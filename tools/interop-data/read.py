"""Reads the exports of a running server with DuckDB, pandas, Frictionless and mlcroissant.

Arguments: the address of the server, a month (2026-09). The output is one JSON object: the
figures that each reader computes, and what the validators say.
"""

import io
import json
import pathlib
import sys
import tempfile
import urllib.request
from email.utils import parsedate_to_datetime

import duckdb
import duckdb_extension_httpfs
import fsspec
import pandas as pd
from fsspec.implementations.http import HTTPFileSystem

base, month = sys.argv[1].rstrip("/"), sys.argv[2]
year, number = month.split("-")
export = base + "/api/v1/export/"
begin = f"TIMESTAMPTZ '{year}-{number}-01 00:00:00+00'"
end = f"({begin} + INTERVAL 1 MONTH)"


def url(name):
    return f"{export}{name}/year={year}/month={number}/{name}.parquet"


def figures_of(con):
    """The figures of one month, by SQL over the files of history and trades."""
    con.sql("SET TimeZone = 'UTC'")
    history, trades = url("history"), url("trades")
    first = f"""(SELECT pubkey, d, min(created_at) AS created_at, arg_min(side, created_at) AS side,
                 arg_min(amount_sats, created_at) AS amount, min(created_at) FILTER (status = 'in-progress') AS taken
                 FROM read_parquet('{history}') WHERE NOT withdrawn GROUP BY ALL)"""
    created = f"SELECT * FROM {first} WHERE created_at >= {begin} AND created_at < {end}"
    done = f"SELECT * FROM read_parquet('{trades}') WHERE success_at >= {begin} AND success_at < {end}"
    one = lambda q: con.sql(q).fetchone()[0]
    return {
        "orders.created": one(f"SELECT count(*) FROM ({created})"),
        "orders.completed": one(f"SELECT count(*) FROM ({done})"),
        "volume.sats": int(one(f"SELECT sum(amount_sats) FROM ({done})")),
        "volume.ticket_p50": one(f"SELECT quantile_disc(amount_sats, 0.5) FROM ({done}) WHERE amount_sats > 0"),
        "market.buy_orders_share": one(f"SELECT avg((side = 'buy')::INT) FROM ({created})"),
        "market.market_price_share": one(f"SELECT avg((amount = 0)::INT) FROM ({created})"),
        "timing.fill_p90": one(
            f"SELECT quantile_disc(date_diff('second', created_at, taken), 0.9) FROM {first} WHERE taken >= {begin} AND taken < {end}"
        ),
    }


def with_duckdb():
    extension = next(pathlib.Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension"))
    con = duckdb.connect()
    con.sql(f"LOAD '{extension}'")
    return figures_of(con)


def with_duckdb_over_fsspec():
    """The same over fsspec's HTTP file system, without an extension."""
    con = duckdb.connect()

    class Http(HTTPFileSystem):
        def modified(self, path):  # DuckDB asks for the time, and fsspec does not know it
            return parsedate_to_datetime(urllib.request.urlopen(urllib.request.Request(path, method="HEAD")).headers["Last-Modified"])

    con.register_filesystem(Http(skip_instance_cache=True))
    return figures_of(con)


def with_pandas():
    with fsspec.open(url("trades")) as f:
        trades = pd.read_parquet(f, engine="pyarrow")
    csv = pd.read_csv(f"{export}trades?format=csv&month={month}")
    lines = pd.read_json(io.BytesIO(urllib.request.urlopen(f"{export}trades?month={month}").read()), lines=True)
    assert len(csv) == len(trades) == len(lines), (len(csv), len(trades), len(lines))
    assert set(csv.columns) == set(trades.columns) == set(lines.columns)
    for other in (csv, lines):
        both = trades.set_index(["pubkey", "d"])["amount_sats"].sort_index()
        assert (both == other.set_index(["pubkey", "d"])["amount_sats"].sort_index()).all()
    start = pd.Timestamp(f"{month}-01", tz="UTC")
    done = trades[(trades.success_at >= start) & (trades.success_at < start + pd.offsets.MonthBegin(1))]
    return {
        "orders.completed": len(done),
        "volume.sats": int(done.amount_sats.sum()),
        "volume.buy_sats": int(done.amount_sats[done.side == "buy"].sum()),
        "volume.largest": int(done.amount_sats.max()),
    }


def with_frictionless():
    """Downloads the whole package, as a researcher would keep it, and validates every row."""
    from frictionless import Package

    with tempfile.TemporaryDirectory() as dir:
        root = pathlib.Path(dir)
        for line in urllib.request.urlopen(export + "SHA256SUMS").read().decode().splitlines():
            path = root / line.split("  ")[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(urllib.request.urlopen(export + line.split("  ")[1]).read())
        (root / "datapackage.json").write_bytes(urllib.request.urlopen(export + "datapackage.json").read())
        report = Package(str(root / "datapackage.json")).validate()
    errors = report.flatten(["rowNumber", "fieldName", "type", "note"])
    return {"valid": report.valid, "resources": len(report.tasks), "errors": [str(e) for e in errors[:5]]}


def with_croissant():
    import mlcroissant as mlc

    with tempfile.TemporaryDirectory() as dir:
        path = pathlib.Path(dir) / "croissant.json"
        path.write_bytes(urllib.request.urlopen(export + "croissant.json").read())
        dataset = mlc.Dataset(jsonld=str(path))
        issues = dataset.metadata.ctx.issues
        rows = sum(1 for _ in dataset.records(f"trades-{month}"))
        return {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "rows": rows}


def with_checksums():
    import hashlib

    lines = urllib.request.urlopen(export + "SHA256SUMS").read().decode().splitlines()
    for line in lines:
        digest, path = line.split("  ")
        assert hashlib.sha256(urllib.request.urlopen(export + path).read()).hexdigest() == digest, path
    return {"files": len(lines)}


def main():
    which = sys.argv[3]
    print(json.dumps({"duckdb": with_duckdb, "fsspec": with_duckdb_over_fsspec, "pandas": with_pandas, "frictionless": with_frictionless,
                      "croissant": with_croissant, "checksums": with_checksums}[which](), default=float))


main()

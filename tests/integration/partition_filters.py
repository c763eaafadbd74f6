"""Finds scans without a condition on the partition column; run by the emulators' interpreter.

BigQuery refuses such a scan of a table with `require_partition_filter`; the emulator does not, so
this looks at the SQL that dbt ran: `partition_filters.py GUARDS FOLDER`. GUARDS is JSON, partition
column by `dataset.table`. Prints a line for each scan whose own WHERE does not compare the column.
"""

import json
import sys
from pathlib import Path

import sqlglot
from sqlglot import exp

COMPARISONS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.EQ, exp.Between)


def is_pruned(condition: exp.Expression, column: str, alias: str) -> bool:
    """Tell whether a condition bounds the column: in one term of an AND, in every term of an OR."""
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return any(is_pruned(term, column, alias) for term in condition.flatten())
    if isinstance(condition, exp.Or):
        return all(is_pruned(term, column, alias) for term in condition.flatten())
    if not isinstance(condition, COMPARISONS):
        return False
    compared = condition.this.unnest()
    return (
        isinstance(compared, exp.Column)
        and compared.name == column
        and compared.table in ("", alias)
    )


def scans(tree: exp.Expression, guards: dict[str, str]) -> list[str]:
    """Return the guarded tables that are read without a condition."""
    found = []
    for table in tree.find_all(exp.Table):
        column = guards.get(f"{table.db}.{table.name}")
        if column is None or isinstance(table.parent, (exp.Create, exp.Insert, exp.Drop)):
            continue
        if isinstance(table.parent, exp.Merge):
            condition = table.parent.args["on"]
        else:
            where = table.find_ancestor(exp.Select).args.get("where")
            condition = where.this if where else exp.true()
        if not is_pruned(condition, column, table.alias_or_name):
            found.append(f"{table.db}.{table.name}")
    return found


def main() -> None:
    """Read the arguments and print what was found."""
    guards = json.loads(sys.argv[1])
    for path in sorted(Path(sys.argv[2]).rglob("*.sql")):
        for tree in sqlglot.parse(path.read_text("utf-8"), dialect="bigquery"):
            for table in scans(tree, guards) if tree else ():
                print(f"{path.name}: {table} is read without a condition on {guards[table]}")


if __name__ == "__main__":
    main()

"""Runs suites with Great Expectations. Importing this module is cheap, `run_suites` is not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .results import NOT_COMPUTED, Check, Result, observed, text
from .truths import Expectation, Suite

if TYPE_CHECKING:
    from google.cloud import bigquery
    from great_expectations.core import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )

logger = logging.getLogger(__name__)

_SITE: Final = "site"
_TRIES: Final = 3
_DISAGREE: Final = "Invalid result values"  # how Great Expectations says it
_TIMEOUT_SECONDS: Final = 30.0
_SEVERITIES: Final = {"fail": "critical", "warn": "warning"}


def run_suites(
    client: bigquery.Client, suites: Sequence[Suite], check: Check, folder: Path
) -> tuple[list[Result], dict[str, str]]:
    """Run the suites and write Data Docs.

    Args:
        client: of the project that holds the tables.
        suites: what must be true.
        check: what all results have.
        folder: for Data Docs; is created.

    Returns:
        The results in order of the suites, and the path of each suite's page in `folder`.
    """
    # It tells of each class that it imports, and warns at each query of the limit that is wanted.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    logging.getLogger("great_expectations.expectations.metrics").setLevel(logging.ERROR)
    # Read when Great Expectations is imported and when it makes a context.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    context = _context(folder)
    url = f"bigquery://{client.project}/ops?user_supplied_client=true"
    sources: Any = context.data_sources  # its stub leaves out the engine's arguments
    source = sources.add_bigquery(
        "bigquery",
        connection_string=url,
        kwargs={"connect_args": {"client": client}},
        create_temp_table=False,
    )
    results: list[Result] = []
    for suite in suites:
        if missing := _missing_tables(client, suite):
            results.append(check.missing(suite, missing))
        else:
            results += _run_suite(context, source, suite, check)
        logger.info("%s: looked at", suite.name)
    context.build_data_docs([_SITE])
    pages = {
        suite.name: page.relative_to(folder).as_posix()
        for suite in suites
        for page in folder.glob(f"validations/{suite.name}/**/*.html")
    }
    return results, pages


def _context(folder: Path) -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
        data_docs_sites={
            _SITE: {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(folder),
                },
            }
        },
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _missing_tables(client: bigquery.Client, suite: Suite) -> list[str]:
    from google.api_core.exceptions import NotFound

    missing = []
    for table in (suite.table, *suite.others):
        try:
            client.get_table(f"{client.project}.{table}", timeout=_TIMEOUT_SECONDS, retry=None)
        except NotFound:
            missing.append(table)
    return missing


def _run_suite(
    context: EphemeralDataContext, source: Any, suite: Suite, check: Check
) -> Iterator[Result]:
    import great_expectations as gx

    asset = source.add_query_asset(suite.name, query=suite.query)
    validation = gx.ValidationDefinition(
        name=suite.name,
        data=asset.add_batch_definition_whole_table("window"),
        suite=context.suites.add(
            gx.ExpectationSuite(
                suite.name, expectations=[_gx_expectation(each) for each in suite.expectations]
            )
        ),
    )
    context.validation_definitions.add(validation)
    # Its queries see a table at different times; a MERGE in between and their counts disagree.
    for _ in range(_TRIES):
        found = validation.run(
            run_id=gx.RunIdentifier(run_name="check", run_time=check.checked_at),
            result_format={
                "result_format": "COMPLETE",  # at most 200 rows are fetched
                "partial_unexpected_count": 10,
                "unexpected_index_column_names": list(suite.keys),
                "return_unexpected_index_query": False,
            },
        )
        errors = {_name(each): _error(each.exception_info) for each in found.results}
        if not any(_DISAGREE in error for error in errors.values()):
            break
    _keep_exact(context, found)
    by_name = {_name(each): each for each in found.results}
    for expectation in suite.expectations:
        one = by_name[expectation.name]
        error = errors[expectation.name]
        yield check.result(
            suite,
            expectation,
            is_success=bool(one.success),
            observed=NOT_COMPUTED + error if error else observed(one.result, suite.keys),
        )


def _gx_expectation(expectation: Expectation) -> Any:
    import great_expectations.expectations as gxe

    columns = expectation.columns
    arguments: dict[str, Any] = dict(expectation.arguments)
    if expectation.kind.startswith("ExpectColumnPair"):
        arguments |= {"column_A": columns[0], "column_B": columns[1]}
    elif expectation.kind.startswith("ExpectCompoundColumns"):
        arguments["column_list"] = list(columns)
    elif expectation.kind.startswith("ExpectColumn"):
        arguments["column"] = columns[0]
    return getattr(gxe, expectation.kind)(
        **arguments,
        severity=_SEVERITIES[expectation.severity],
        meta={"name": expectation.name},
        description=f"{expectation.name} ({expectation.severity}): {expectation.threshold}."
        f" {expectation.meaning} {expectation.remedy}",
    )


def _name(found: ExpectationValidationResult) -> str:
    """Return the name that the suite gives to the expectation of a result."""
    assert found.expectation_config is not None  # noqa: S101 - of every result of a suite
    return str((found.expectation_config.meta or {})["name"])


def _error(info: Mapping[str, Any]) -> str:
    """Return the message of an expectation that raised; empty when it did not."""
    if "raised_exception" in info:
        infos: list[Mapping[str, Any]] = [info]
    else:
        infos = list(info.values())  # one a metric
    return "; ".join(str(each["exception_message"]) for each in infos if each["raised_exception"])


def _keep_exact(context: EphemeralDataContext, found: ExpectationSuiteValidationResult) -> None:
    """Store the results for Data Docs again, decimals as text: it would show them rounded."""
    for one in found.results:
        one.result = _exact(one.result)
    store = context.validation_results_store
    keys: list[Any] = store.list_keys()
    for key in keys:
        if key.expectation_suite_identifier.name == found.suite_name:
            store.set(key, found)


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return text(value)
    if isinstance(value, Mapping):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_exact, value))
    return value

"""The variables at the head of a board."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import VariableHide, VariableOption, VariableRefresh, VariableSort

from trainserve.dev.dashboards.panels import DATASOURCE

Variable = builders.DatasourceVariable | builders.QueryVariable
ANY = ".+"
"""Value of the choice All; it keeps queries shorter than a list of a thousand names would."""


def datasource() -> Variable:
    """Return the variable for the Prometheus data source; its default is Grafana's."""
    variable = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return variable.description("The Prometheus that scrapes TrainServe.")


def chosen(
    name: str, label: str, description: str, query: str, *, several: bool = False, hidden: bool = False
) -> Variable:
    """Return a variable with a label's values. `several` allows several values or All, which is then the default."""
    variable = builders.QueryVariable(name).label(label).description(description).datasource(DATASOURCE)
    # The form that Grafana's own editor writes; `qryType` 1 is a query for label values.
    variable.query({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
    variable.definition(query).sort(VariableSort.NATURAL_ASC).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    if several:
        variable.multi(True).include_all(True).all_value(ANY)
        variable.current(VariableOption(selected=True, text="All", value="$__all"))
    if hidden:
        variable.hide(VariableHide.HIDE_VARIABLE)
    return variable

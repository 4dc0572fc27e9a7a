"""Links between the boards, and from a table's row to the board of its object."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType, DynamicConfigValue

FLEET, TRAINJOB, MODELSERVE, OPERATOR = (
    "trainserve-fleet",
    "trainserve-trainjob",
    "trainserve-modelserve",
    "trainserve-operator",
)
"""The boards' uids. They never change, as URLs contain them."""
TITLES = {
    FLEET: "TrainServe / Fleet",
    TRAINJOB: "TrainServe / TrainJob",
    MODELSERVE: "TrainServe / ModelServe",
    OPERATOR: "TrainServe / Operator",
}


def boards(here: str) -> list[Builder[DashboardLink]]:
    """Return links to all boards except `here`; they keep the chosen data source and time range."""
    return [_board(uid) for uid in TITLES if uid != here]


def to_trainjob() -> DynamicConfigValue:
    """Return a link to the board of the row's TrainJob; the table has the columns Namespace and TrainJob."""
    return _row("Open this TrainJob", TRAINJOB, "trainjob", "TrainJob")


def to_modelserve() -> DynamicConfigValue:
    """Return the same link for a ModelServe."""
    return _row("Open this ModelServe", MODELSERVE, "modelserve", "ModelServe")


def _board(uid: str) -> builders.DashboardLink:
    name = TITLES[uid].partition(" / ")[2]
    link = builders.DashboardLink(name).type(DashboardLinkType.LINK).icon("dashboard").tooltip(TITLES[uid])
    return link.url(f"/d/{uid}?${{datasource:queryparam}}").keep_time(True)


def _row(title: str, uid: str, variable: str, column: str) -> DynamicConfigValue:
    address = (
        f"/d/{uid}?${{datasource:queryparam}}&var-namespace=${{__data.fields.Namespace}}"
        f"&var-{variable}=${{__data.fields.{column}}}&${{__url_time_range}}"
    )
    return DynamicConfigValue("links", [{"title": title, "url": address}])

"""Where the boards lead: to each other, and from a row of a table to the board of the object in it."""

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
"""The boards' uids, which addresses hold: they never change."""
TITLES = {
    FLEET: "TrainServe / Fleet",
    TRAINJOB: "TrainServe / TrainJob",
    MODELSERVE: "TrainServe / ModelServe",
    OPERATOR: "TrainServe / Operator",
}


def boards(here: str) -> list[Builder[DashboardLink]]:
    """Links to all boards but this one, with the data source and the time that are chosen here."""
    return [_board(uid) for uid in TITLES if uid != here]


def to_trainjob() -> DynamicConfigValue:
    """From a table's column to the board of the row's TrainJob; the table has the columns Namespace and TrainJob."""
    return _row("Open this TrainJob", TRAINJOB, "trainjob", "TrainJob")


def to_modelserve() -> DynamicConfigValue:
    """As `to_trainjob`, of a ModelServe."""
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

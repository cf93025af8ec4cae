"""One line for each filter makes it known to ``wsrelay filters`` and to relay.ini."""

from wsrelay.plugins import FilterPlugin

anonymise = FilterPlugin(
    "anonymise", "anonymise.Anonymise", {"direction": "which messages: up, down or both (both)"}
)
graphql_guard = FilterPlugin(
    "graphql-guard",
    "graphql_guard.GraphQLGuard",
    {"depth": "of all selections of a document (8)", "names": "of operations: A,B (any)"},
)
user_rate = FilterPlugin(
    "user-rate",
    "user_rate.UserRate",
    {"rate": "messages a second (10)", "burst": "how many may come at once (20)"},
)

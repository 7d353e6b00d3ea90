"""The assigner's SQL: set-based, one statement a batch. Locks are taken in one order everywhere: routes, assignments,
leads, agent counters, page groups, each by id; a locking statement returns nothing that is decided on."""

#: Planning these statements anew for each batch costs more than it finds: they all go by keys. A plan that is kept must
#: not have been made for tables that were empty then: it would read all leads, batch by batch, until autovacuum came.
SERVER_SETTINGS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}

"""The assigner's SQL: set-based, one statement a batch. Locks are taken in one order everywhere: routes, assignments,
leads, agent counters, page groups, each by id; a locking statement returns nothing that is decided on."""

"""What must hold in the database after anything: each statement gives what breaks its rule, one text a row."""

from __future__ import annotations

#: By the name of a check; every row is a finding.
STATEMENTS = {
    "one current assignment": """
        SELECT leads.lead_id || ' has ' || count(assignments.id) || ' current assignments' AS words
        FROM leads LEFT JOIN assignments ON assignments.lead_id = leads.id AND is_current
        GROUP BY leads.lead_id HAVING count(assignments.id) <> 1
    """,
    "an agent or a reason": """
        SELECT leads.lead_id || ' is pending without a reason' AS words
        FROM assignments JOIN leads ON leads.id = assignments.lead_id
        WHERE is_current AND assignment_status_id = 1 AND (reason IS NULL OR agent_id IS NOT NULL)
        UNION ALL
        SELECT leads.lead_id || ' is with an agent without a route, a decision or a number'
        FROM assignments JOIN leads ON leads.id = assignments.lead_id
        WHERE is_current AND assignment_status_id IN (2, 3)
          AND (agent_id IS NULL OR assignments.route_id IS NULL OR decision_id IS NULL OR sheet_key IS NULL)
    """,
    "nobody waits beside a place": """
        SELECT leads.lead_id || ' waits on ' || routes.name || ' (' || coalesce(reason, 'no reason')
               || ') beside agent ' || min(agents.agent_code) AS words
        FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN routes ON routes.id = assignments.route_id
             JOIN route_members AS members ON members.route_id = routes.id AND members.is_enabled
                  AND (members.store_code IS NULL OR members.store_code = leads.store_code)
             JOIN agents ON agents.id = members.agent_id AND agents.is_active
             LEFT JOIN agent_counters ON agent_counters.agent_id = agents.id
             LEFT JOIN member_days ON member_days.route_id = routes.id AND member_days.agent_id = agents.id
                  AND member_days.store_code = coalesce(members.store_code, '')
                  AND member_days.day = (now() AT TIME ZONE routes.zone)::date
        WHERE assignments.is_current AND assignment_status_id = 1 AND routes.mode = 'stream' AND routes.is_enabled
          AND routes.retry_pending AND leads.duplicate_of IS NULL AND NOT leads.is_order_placed
          AND (agents.max_load IS NULL OR coalesce(agent_counters.open_load, 0) < agents.max_load)
          AND (members.max_daily_leads IS NULL OR coalesce(member_days.leads, 0) < members.max_daily_leads)
          AND coalesce(agents.business_line_id = leads.business_line_id, true)
        GROUP BY leads.lead_id, routes.name, reason
    """,
    "sheets": """
        WITH expected AS (
            SELECT DISTINCT sheet_key, bool_or(assignment_status_id IN (2, 3)) OVER (PARTITION BY sheet_key) AS is_held
            FROM assignments JOIN routes ON routes.id = assignments.route_id AND routes.sheets
            WHERE is_current AND sheet_key IS NOT NULL
        )
        SELECT 'no document of ' || sheet_key AS words
        FROM expected LEFT JOIN documents USING (sheet_key) WHERE documents.id IS NULL
        UNION ALL
        SELECT sheet_key || ' is held by its agent and ' || status
        FROM expected JOIN documents USING (sheet_key) WHERE is_held AND status <> 'ok'
        UNION ALL
        SELECT sheet_key || ' has ' || count(*) || ' documents' FROM documents GROUP BY sheet_key HAVING count(*) > 1
        UNION ALL
        SELECT file_path || ' is the file of ' || count(*) || ' documents'
        FROM documents GROUP BY file_path HAVING count(*) > 1
        UNION ALL
        SELECT DISTINCT leads.lead_id || ' is not on its sheet ' || sheet_key
        FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN documents USING (sheet_key)
        WHERE is_current AND assignment_status_id IN (2, 3) AND leads.lead_id <> ALL (documents.lead_ids)
        UNION ALL
        SELECT 'lot ' || lots.id || ' expects ' || key || ', which no assignment has'
        FROM lots CROSS JOIN unnest(sheets) AS key
        WHERE NOT EXISTS (SELECT 1 FROM assignments WHERE sheet_key = key)
    """,
    "every sheet is mailed": """
        SELECT documents.sheet_key || ' is held by its agent and was not mailed ('
               || coalesce(string_agg(notifications.status || coalesce(': ' || notifications.reason, ''), ', '),
                           'nobody has tried') || ')' AS words
        FROM documents JOIN agents ON agents.id = documents.agent_id AND agents.email <> ''
             LEFT JOIN notification_sheets AS its ON its.document_id = documents.id
             LEFT JOIN notifications ON notifications.id = its.notification_id
        WHERE documents.status = 'ok' AND EXISTS (
            SELECT 1 FROM assignments WHERE assignments.sheet_key = documents.sheet_key AND is_current
               AND assignment_status_id IN (2, 3)
        )
        GROUP BY documents.sheet_key HAVING bool_or(notifications.status = 'sent') IS NOT TRUE
    """,
    "counters equal counted rows": """
        SELECT 'agent ' || agent_id || ' has open_load ' || open_load || ' and auto_assign_count ' || auto_assign_count
               || '; counted ' || held || ' and ' || received AS words
        FROM agent_counters CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE is_current AND assignment_status_id IN (2, 3)) AS held,
                   count(*) FILTER (WHERE sheet_key IS NOT NULL) AS received
            FROM assignments WHERE assignments.agent_id = agent_counters.agent_id
        ) AS counted
        WHERE (open_load, auto_assign_count) <> (held, received)
        UNION ALL
        SELECT 'route ' || route_id || ', agent ' || agent_id || ' has ' || coalesce(kept.assigned_count, 0)
               || ' counted ' || coalesce(counted.leads, 0)
        FROM member_counters AS kept FULL JOIN (
            SELECT route_id, agent_id, count(*) AS leads FROM assignments WHERE sheet_key IS NOT NULL GROUP BY 1, 2
        ) AS counted USING (route_id, agent_id)
        WHERE coalesce(kept.assigned_count, 0) <> coalesce(counted.leads, 0)
        UNION ALL
        SELECT 'route ' || route_id || ', ' || day || ', agent ' || agent_id || ' has ' || coalesce(kept.leads, 0)
               || ' counted ' || coalesce(counted.leads, 0)
        FROM (SELECT route_id, day, agent_id, sum(leads) AS leads FROM member_days GROUP BY 1, 2, 3) AS kept
             FULL JOIN (SELECT assignments.route_id, decisions.day, agent_id, count(*) AS leads
                        FROM assignments JOIN decisions ON decisions.id = decision_id GROUP BY 1, 2, 3) AS counted
             USING (route_id, day, agent_id)
        WHERE kept.leads IS DISTINCT FROM counted.leads
        UNION ALL
        SELECT page_group_code || ' ends at ' || last_rowid || '; counted ' || count(assignments.id)
               || ' from ' || coalesce(min(rowid), 0) || ' to ' || coalesce(max(rowid), 0)
        FROM page_groups LEFT JOIN assignments USING (page_group_code)
        GROUP BY page_group_code, last_rowid
        HAVING (count(*), min(rowid), max(rowid), count(DISTINCT rowid))
               IS DISTINCT FROM (last_rowid, 1::bigint, last_rowid, last_rowid)
        UNION ALL
        SELECT 'lot ' || lots.id || ' says ' || assigned || ' assigned; counted ' || count(assignments.id)
        FROM lots LEFT JOIN assignments ON assignments.lot_id = lots.id
        GROUP BY lots.id HAVING assigned <> count(assignments.id)
    """,
    # A cap that was lowered is held against what was the highest meanwhile; the exact one is `decisions verify`'s.
    "no cap is passed": """
        WITH loads AS (
            SELECT agents.id, greatest(max_load, max((old_value ->> 'max_load')::int),
                                       max((new_value ->> 'max_load')::int)) AS most
            FROM agents LEFT JOIN audit_logs
                 ON table_name = 'agents' AND coalesce(new_value, old_value) ->> 'id' = agents.id::text
            WHERE max_load IS NOT NULL GROUP BY agents.id
        ), days AS (
            SELECT members.route_id, members.agent_id, coalesce(members.store_code, '') AS store_code,
                   greatest(max_daily_leads, max((old_value ->> 'max_daily_leads')::int),
                            max((new_value ->> 'max_daily_leads')::int)) AS most
            FROM route_members AS members LEFT JOIN audit_logs
                 ON table_name = 'route_members' AND coalesce(new_value, old_value) ->> 'id' = members.id::text
            WHERE max_daily_leads IS NOT NULL GROUP BY members.id
        )
        SELECT 'record ' || records.id || ': agent ' || agent_id || ' came to ' || open_after || ' of ' || most AS words
        FROM assignment_records AS records JOIN loads ON loads.id = agent_id
        WHERE open_after > open_before AND open_after > most
        UNION ALL
        SELECT 'agent ' || agent_id || ' on route ' || route_id || ' received ' || leads || ' of ' || most
               || ' on ' || day
        FROM member_days JOIN days USING (route_id, agent_id, store_code) WHERE leads > most
        UNION ALL
        SELECT 'lot ' || lot_id || ' gave agent ' || members.agent_id || ' ' || count(*) || ' leads of type '
               || lead_type
        FROM assignments JOIN route_members AS members
             ON members.route_id = assignments.route_id AND members.agent_id = assignments.agent_id
             AND members.store_code = assignments.store_code
        WHERE lot_id IS NOT NULL
        GROUP BY lot_id, members.id, lead_type
        HAVING count(*) > CASE lead_type WHEN 'N' THEN max_new_per_lot ELSE max_existing_per_lot END
    """,
    "records add up": """
        WITH last AS (
            SELECT DISTINCT ON (assignment_id) assignment_id, assignment_status_id, agent_id
            FROM assignment_records WHERE refused_event IS NULL ORDER BY assignment_id, id DESC
        )
        SELECT leads.lead_id || ' is in state ' || assignments.assignment_status_id || ' with agent '
               || coalesce(assignments.agent_id::text, 'none') || '; its last record says '
               || coalesce(last.assignment_status_id::text, 'nothing') || ' with '
               || coalesce(last.agent_id::text, 'none') AS words
        FROM assignments JOIN leads ON leads.id = assignments.lead_id LEFT JOIN last ON assignment_id = assignments.id
        WHERE is_current AND (assignments.assignment_status_id, assignments.agent_id)
              IS DISTINCT FROM (coalesce(last.assignment_status_id, 1::smallint), last.agent_id)
        UNION ALL
        SELECT 'assignment ' || assignments.id || ' was given ' || count(records.id) || ' times'
        FROM assignments LEFT JOIN assignment_records AS records
             ON assignment_id = assignments.id AND count_after IS NOT NULL
        WHERE sheet_key IS NOT NULL GROUP BY assignments.id HAVING count(records.id) <> 1
        UNION ALL
        SELECT 'agent ' || agent_id || ' came to a load of ' || open_after || ' in ' || sum(step)
               || ' more steps than left it'
        FROM (
            SELECT agent_id, open_after, 1 AS step FROM assignment_records WHERE open_after IS NOT NULL
            UNION ALL
            SELECT agent_id, open_before, -1 FROM assignment_records WHERE open_after IS NOT NULL
        ) AS steps LEFT JOIN agent_counters USING (agent_id)
        GROUP BY agent_id, open_after, open_load
        HAVING sum(step) <> (open_after = open_load)::int - (open_after = 0)::int
    """,
    "outbox is empty": """
        SELECT service || ' left ' || cardinality(types) || ' events: ' || types[1] AS words FROM outbox
    """,
    # A store for which nobody is named has its mails wait, as it must.
    "mails have come to an end": """
        SELECT 'notification ' || id || ' is ' || status || ': ' || coalesce(reason, 'no reason') AS words
        FROM notifications
        WHERE status NOT IN ('sent', 'void')
          AND NOT (status = 'waiting' AND starts_with(reason, 'no recipient is active') AND NOT EXISTS (
              SELECT 1 FROM notification_recipients AS theirs
              WHERE theirs.profile_id = notifications.profile_id AND theirs.is_active
                AND (theirs.store_code IS NULL OR reason LIKE '%' || theirs.store_code)
          ))
    """,
}

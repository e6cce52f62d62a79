-- Whoever did something, known or not: one row per project and identity, from the events.
SELECT
  e.api_key AS project,
  coalesce(o.person_id, e.person_id, e.distinct_id) AS identity_id,
  min(e."timestamp") AS first_seen_at,
  max(e."timestamp") AS last_seen_at,
  count(*) AS event_count,
  count(DISTINCT e.session_id) AS session_count,
  count(DISTINCT e.distinct_id) AS actor_count,
  bool_or(o.person_id IS NOT NULL OR coalesce(e.person_mode IN ('full', 'force_upgrade'), FALSE)) AS has_person
FROM hogflare_events AS e
LEFT JOIN (
  SELECT
    api_key,
    distinct_id,
    substr(max(cast(1000000000000 + version AS varchar) || person_id), 14) AS person_id
  FROM hogflare_person_overrides
  GROUP BY api_key, distinct_id
) AS o
  ON e.api_key = o.api_key AND e.distinct_id = o.distinct_id
GROUP BY 1, 2

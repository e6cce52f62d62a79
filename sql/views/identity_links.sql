-- Which person a distinct id belongs to now: one row per project and distinct id.
SELECT
  links.api_key AS project,
  links.distinct_id,
  links.person_id,
  links.version,
  links.distinct_id = p.canonical_distinct_id AS is_canonical
FROM (
  SELECT
    api_key,
    distinct_id,
    substr(max(cast(1000000000000 + version AS varchar) || person_id), 14) AS person_id,
    max(version) AS version
  FROM (
    SELECT api_key, distinct_id, person_id, version, _position FROM hogflare_person_overrides
    UNION ALL
    -- A person begins with an id that needs no move.
    SELECT api_key, canonical_distinct_id AS distinct_id, person_id, 0 AS version, 0 AS _position
    FROM hogflare_persons
  ) AS moves
  GROUP BY api_key, distinct_id
) AS links
LEFT JOIN (
  SELECT api_key, person_id, max(canonical_distinct_id) AS canonical_distinct_id
  FROM hogflare_persons
  GROUP BY api_key, person_id
) AS p
  ON links.api_key = p.api_key AND links.person_id = p.person_id

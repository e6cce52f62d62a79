-- How many rows each writer has, and the last of its positions.
SELECT
  _writer,
  count(*) AS row_count,
  max(_position) AS last_position
FROM audited_table
GROUP BY _writer

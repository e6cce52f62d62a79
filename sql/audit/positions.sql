-- The positions of one writer within a range, in any order.
SELECT _position
FROM audited_table
WHERE _writer = $1 AND _position BETWEEN $2 AND $3

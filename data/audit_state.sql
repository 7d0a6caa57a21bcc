-- How much the ledger holds of what a book is made from: one row; equal rows, equal books, since nothing is changed or
-- taken away but an open call, which becomes a reading. Read by the audit, so that nothing is summed twice for nothing.
SELECT
    (SELECT count(*) FROM readings) AS readings,
    (SELECT count(*) FROM open_calls) AS open_calls,
    (SELECT count(*) FROM additions) AS additions,
    (SELECT count(*) FROM keys) AS keys,
    (SELECT count(*) FROM marks) AS marks,
    (SELECT count(*) FROM gaps) AS gaps,
    (SELECT count(*) FROM audits) AS audits;

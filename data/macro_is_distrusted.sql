-- Whether one of these flags says that a usage cannot be believed: its create stands as unknown. flags: a call's, or those of
-- the read that told its usage. Inner macro of `standing_of` and `unknown_calls`.
CREATE OR REPLACE MACRO is_distrusted(flags) AS
coalesce(
    list_has_any(flags, [
        'cached_over_input', 'count_negative', 'count_absurd', 'count_malformed', 'usage_contradicts', 'zero_after_error'
    ]),
    false
);

-- Oldest program: 0001
-- One shard of a ledger. Times are microseconds since 1970, amounts integers of the asset's smallest unit.
-- Constraints stand behind the rules of model.py: they hold whatever the code does.

-- What is to be checked of one column stands in its domain: Postgres reads that once a session, what is to be checked
-- of a table for every statement that changes it, which a small batch would feel.
create domain nonnegative as bigint check (value >= 0);
create domain positive as bigint check (value > 0);
create domain digest as bytea check (length(value) = 32);
create domain account_state as text check (value in ('open', 'frozen', 'closed'));

create table head (
    id smallint primary key check (id = 0),
    shard text not null,
    position nonnegative not null,
    seq nonnegative not null,
    hash digest not null,
    at bigint not null
) with (fillfactor = 10);

create table accounts (
    id text primary key collate "C",
    balance bigint not null,
    held nonnegative not null,
    floor bigint,
    state account_state not null,
    version positive not null,
    metadata jsonb not null,
    -- No later than the first moment at which time changes something: a hold or grant expires, a grant begins.
    next_due bigint,
    -- How many of its lots are open: see grants_open.
    lots nonnegative not null,
    alert bigint,
    alerted boolean not null,
    check (floor is null or balance - held >= floor),
    check (floor is not null or id like 'system/%')
) with (fillfactor = 50);

-- Both legs in one row, with both accounts as they were after it: the history of balances is stored, not derived.
create table transfers (
    seq positive primary key,
    position bigint not null,
    at bigint not null,
    debit text not null collate "C",
    credit text not null collate "C",
    amount positive not null,
    kind text not null,
    reference text,
    reverses bigint,
    reversed bigint not null default 0,
    metadata jsonb not null,
    -- Lots of the debited account that paid, in order, and of the credited one that got back: [[grant, amount], …]
    burnt jsonb,
    restored jsonb,
    debit_balance bigint not null,
    debit_held bigint not null,
    debit_version bigint not null,
    credit_balance bigint not null,
    credit_held bigint not null,
    credit_version bigint not null,
    check (debit <> credit),
    check (reversed between 0 and amount)
);
-- Most have none, and an index of nothing costs as much as one of something.
create unique index transfers_reference on transfers (reference) where reference is not null;
create index transfers_debit on transfers (debit, seq);
create index transfers_credit on transfers (credit, seq);

create table holds (
    id text primary key collate "C",
    opened bigint not null,
    account text not null collate "C",
    "to" text not null collate "C",
    amount bigint not null check (amount > 0),
    remaining bigint not null check (remaining >= 0),
    committed bigint not null check (committed >= 0),
    state text not null check (state in ('held', 'committed', 'voided', 'expired')),
    expires_at bigint not null,
    version bigint not null check (version > 0),
    metadata jsonb not null,
    -- What of it comes from lots, in burning order: [[grant, amount], …]
    claims jsonb,
    check (committed + remaining <= amount),
    check ((state = 'held') = (remaining > 0))
) with (fillfactor = 70);
create index holds_account on holds (account, opened);
create index holds_open on holds (account, expires_at) where state = 'held';
create index holds_due on holds (expires_at) where state = 'held';

-- Lots of credits. A pending one is not in its account's balance yet; one that is over keeps what holds had claimed.
create table grants (
    id text primary key collate "C",
    account text not null collate "C",
    amount bigint not null check (amount > 0),
    remaining bigint not null check (remaining between 0 and amount),
    held bigint not null check (held between 0 and remaining),
    priority integer not null,
    effective_at bigint not null,
    expires_at bigint,
    state text not null check (state in ('pending', 'active', 'exhausted', 'expired', 'voided')),
    created bigint not null,
    version bigint not null check (version > 0),
    metadata jsonb not null,
    check (expires_at > effective_at),
    check (state <> 'pending' or (remaining = amount and held = 0)),
    check ((state = 'exhausted') = (remaining = 0 and state not in ('expired', 'voided'))),
    check (state not in ('expired', 'voided') or remaining = held)
) with (fillfactor = 70);
create index grants_account on grants (account, created);
create index grants_open on grants (account) where state in ('pending', 'active') or held > 0;
create index grants_pending on grants (effective_at) where state = 'pending';
create index grants_expiring on grants (expires_at) where state = 'active';

-- The chain: everything that was decided, refusals included, and at once the memory of idempotency keys.
create table entries (
    position positive primary key,
    at bigint not null,
    caller text not null collate "C",
    key text collate "C",
    operation bytea not null,
    code text not null,
    answer bytea not null,
    hash digest not null,
    -- The hash, sealed with a key that this database never sees.
    receipt text
);
create unique index entries_key on entries (caller, key) where key is not null;

insert into head (id, shard, position, seq, hash, at)
values (0, current_setting('shieldx.shard'), 0, 0, decode(repeat('00', 32), 'hex'), 0);

insert into accounts (id, balance, held, floor, state, version, metadata, next_due, lots, alert, alerted)
select
    name as id,
    0 as balance,
    0 as held,
    null as floor,
    'open' as state,
    1 as version,
    '{}' as metadata,
    null as next_due,
    0 as lots,
    null as alert,
    false as alerted
from unnest(array['system/issuance', 'system/revenue', 'system/breakage']) as system_accounts (name);

create function clock_microseconds() returns bigint
language sql volatile
return (extract(epoch from clock_timestamp()) * 1000000)::bigint;

-- The time of the shard: a clock that was set back makes it stand still, for readers as for the writer.
create function shard_time() returns bigint
language sql stable
return (select greatest(h.at, clock_microseconds()) from head as h);

-- What a batch must know, in one round trip. `_due`: accounts some hold of which may have expired.
create function load(
    _accounts text[],
    _grants text[],
    _holds text[],
    _transfers bigint[],
    _references text[],
    _callers text[],
    _keys text[],
    _due text[],
    _now bigint
) returns text
language plpgsql stable
as $$
declare
    _answer jsonb;
    _wanted text[];
    _overdue text[];
    _burnt text[];
begin
    select array_agg(distinct wanted.id) into _wanted
    from (
        select unnest(_accounts) as id
        union all
        select g.account from grants as g where g.id = any(_grants)
        union all
        select unnest(array[h.account, h."to"]) from holds as h where h.id = any(_holds)
        union all
        select unnest(array[t.debit, t.credit]) from transfers as t where t.seq = any(_transfers)
    ) as wanted;
    select array_agg(a.id) into _overdue
    from accounts as a
    where a.id = any(_wanted || _due) and a.next_due <= _now;
    if cardinality(_transfers) > 0 then
        select array_agg(distinct part.value ->> 0) into _burnt
        from transfers as t
        cross join lateral jsonb_array_elements(t.burnt) as part
        where t.seq = any(_transfers);
    end if;
    select jsonb_build_object(
        'head', (select jsonb_build_array(h.position, h.seq, encode(h.hash, 'hex'), h.at) from head as h),
        'now', clock_microseconds(),
        'accounts', coalesce((
            select jsonb_agg(jsonb_build_array(
                a.id, a.balance, a.held, a.floor, a.state, a.version, a.metadata, a.next_due, a.lots, a.alert,
                a.alerted
            ))
            from accounts as a where a.id = any(_wanted)
        ), '[]'),
        -- All open lots of the accounts, and whatever else is asked for.
        'lots', coalesce((
            select jsonb_agg(jsonb_build_array(
                g.id, g.account, g.amount, g.remaining, g.held, g.priority, g.effective_at, g.expires_at, g.state,
                g.created, g.version, g.metadata
            ))
            from (
                select o.* from grants as o
                where o.account = any(_wanted) and (o.state in ('pending', 'active') or o.held > 0)
                union
                select i.* from grants as i where i.id = any(_grants || _burnt)
            ) as g
        ), '[]'),
        'wanted', coalesce(to_jsonb(_wanted), '[]'),
        'holds', coalesce((
            select jsonb_agg(jsonb_build_array(
                h.id, h.account, h."to", h.amount, h.remaining, h.committed, h.state, h.expires_at, h.version,
                h.metadata, coalesce(h.claims, '[]')
            ))
            from holds as h where h.id = any(_holds)
        ), '[]'),
        'posted', coalesce((
            select jsonb_agg(jsonb_build_array(
                t.seq, t.debit, t.credit, t.amount, t.reversed, coalesce(t.burnt, '[]')
            ))
            from transfers as t where t.seq = any(_transfers)
        ), '[]'),
        'references', coalesce((
            select jsonb_agg(jsonb_build_array(t.reference, t.seq))
            from transfers as t where t.reference = any(_references)
        ), '[]'),
        'keys', coalesce((
            select jsonb_agg(jsonb_build_array(
                e.caller, e.key, encode(e.operation, 'base64'), e.code, encode(e.answer, 'base64'), e.receipt
            ))
            from unnest(_callers, _keys) as wanted (caller, key)
            inner join entries as e on e.caller = wanted.caller and e.key = wanted.key
        ), '[]'),
        -- Of each overdue account: what has expired, and the first hold that has not.
        'due', coalesce((
            select jsonb_agg(jsonb_build_array(
                d.id, d.account, d."to", d.amount, d.remaining, d.committed, d.state, d.expires_at, d.version,
                d.metadata, coalesce(d.claims, '[]')
            ))
            from unnest(_overdue) as overdue (account)
            cross join lateral (
                (
                    select h.* from holds as h
                    where h.account = overdue.account and h.state = 'held' and h.expires_at <= _now
                )
                union all
                (
                    select h.* from holds as h
                    where h.account = overdue.account and h.state = 'held' and h.expires_at > _now
                    order by h.expires_at
                    limit 1
                )
            ) as d
        ), '[]')
    ) into _answer;
    return _answer::text;
end;
$$;

-- Rows travel as JSON arrays, a row each: one argument a table costs a fraction of one a column. A row's `before` is
-- the version that it was read with, 0 for a new one. `place` is a position in the chain (that word is a keyword here).
-- `delta` is what the batch adds to the balance that was read.
create function figure_rows(_rows jsonb) returns table (
    id text,
    before bigint,
    delta bigint,
    balance bigint,
    held bigint,
    version bigint
)
language sql immutable
as $$
select
    r ->> 0,
    (r ->> 1)::bigint,
    (r ->> 2)::bigint,
    (r ->> 3)::bigint,
    (r ->> 4)::bigint,
    (r ->> 5)::bigint
from jsonb_array_elements(_rows) as r
$$;

-- They begin as `figure_rows` do. `figures`: what the account has now, no transfer's row says.
create function account_rows(_rows jsonb) returns table (
    id text,
    before bigint,
    delta bigint,
    balance bigint,
    held bigint,
    version bigint,
    floor bigint,
    state text,
    metadata jsonb,
    next_due bigint,
    lots integer,
    alert bigint,
    alerted boolean,
    figures boolean
)
language sql immutable
as $$
select
    r ->> 0,
    (r ->> 1)::bigint,
    (r ->> 2)::bigint,
    (r ->> 3)::bigint,
    (r ->> 4)::bigint,
    (r ->> 5)::bigint,
    (r ->> 6)::bigint,
    r ->> 7,
    r -> 8,
    (r ->> 9)::bigint,
    (r ->> 10)::integer,
    (r ->> 11)::bigint,
    (r ->> 12)::boolean,
    (r ->> 13)::boolean
from jsonb_array_elements(_rows) as r
$$;

create function grant_rows(_rows jsonb) returns table (
    id text,
    before bigint,
    account text,
    amount bigint,
    remaining bigint,
    held bigint,
    priority integer,
    effective_at bigint,
    expires_at bigint,
    state text,
    created bigint,
    version bigint,
    metadata jsonb
)
language sql immutable
as $$
select
    r ->> 0,
    (r ->> 1)::bigint,
    r ->> 2,
    (r ->> 3)::bigint,
    (r ->> 4)::bigint,
    (r ->> 5)::bigint,
    (r ->> 6)::integer,
    (r ->> 7)::bigint,
    (r ->> 8)::bigint,
    r ->> 9,
    (r ->> 10)::bigint,
    (r ->> 11)::bigint,
    r -> 12
from jsonb_array_elements(_rows) as r
$$;

create function transfer_rows(_rows jsonb) returns table (
    seq bigint,
    place bigint,
    debit text,
    credit text,
    amount bigint,
    kind text,
    reference text,
    reverses bigint,
    metadata jsonb,
    burnt jsonb,
    restored jsonb,
    debit_balance bigint,
    debit_held bigint,
    debit_version bigint,
    credit_balance bigint,
    credit_held bigint,
    credit_version bigint
)
language sql immutable
as $$
select
    (r ->> 0)::bigint,
    (r ->> 1)::bigint,
    r ->> 2,
    r ->> 3,
    (r ->> 4)::bigint,
    r ->> 5,
    r ->> 6,
    (r ->> 7)::bigint,
    r -> 8,
    (r ->> 9)::jsonb,
    (r ->> 10)::jsonb,
    (r ->> 11)::bigint,
    (r ->> 12)::bigint,
    (r ->> 13)::bigint,
    (r ->> 14)::bigint,
    (r ->> 15)::bigint,
    (r ->> 16)::bigint
from jsonb_array_elements(_rows) as r
$$;

create function hold_rows(_rows jsonb) returns table (
    id text,
    before bigint,
    opened bigint,
    account text,
    paid_to text,
    amount bigint,
    remaining bigint,
    committed bigint,
    state text,
    expires_at bigint,
    version bigint,
    metadata jsonb,
    claims jsonb
)
language sql immutable
as $$
select
    r ->> 0,
    (r ->> 1)::bigint,
    (r ->> 2)::bigint,
    r ->> 3,
    r ->> 4,
    (r ->> 5)::bigint,
    (r ->> 6)::bigint,
    (r ->> 7)::bigint,
    r ->> 8,
    (r ->> 9)::bigint,
    (r ->> 10)::bigint,
    r -> 11,
    (r ->> 12)::jsonb
from jsonb_array_elements(_rows) as r
$$;

-- An entry's bytes must stay as they are: they stand one behind the other in `_texts`, hash, operation and answer.
create function entry_rows(_rows jsonb, _texts bytea) returns table (
    place bigint,
    caller text,
    key text,
    code text,
    receipt text,
    hash bytea,
    operation bytea,
    answer bytea
)
language sql immutable
as $$
select
    (r ->> 0)::bigint,
    r ->> 1,
    r ->> 2,
    r ->> 3,
    r ->> 4,
    substring(_texts from (r ->> 5)::integer for 32),
    substring(_texts from (r ->> 5)::integer + 32 for (r ->> 6)::integer),
    substring(_texts from (r ->> 5)::integer + 32 + (r ->> 6)::integer for (r ->> 7)::integer)
from jsonb_array_elements(_rows) as r
$$;

-- Make a decided batch durable: one call, one commit. It refuses, by SQLSTATE,
--   SX001  the chain has moved on, or a row has changed: reload and decide again
--   SX002  the time is before the head's, or ahead of every clock
--   SX009  the batch contradicts itself: a defect, and nothing of it is stored
create function store(
    _expected bigint,
    _position bigint,
    _seq bigint,
    _hash bytea,
    _at bigint,
    _figures jsonb,
    _accounts jsonb,
    _grants jsonb,
    _transfers jsonb,
    _reversals jsonb,
    _holds jsonb,
    _entries jsonb,
    _texts bytea
) returns void
language plpgsql
as $$
declare
    _head head;
    _delta numeric;
    _changed bigint;
    _more bigint;
begin
    select * into _head from head where id = 0 for update;
    if _head.position <> _expected then
        raise exception 'the chain is at %, not at %', _head.position, _expected using errcode = 'SX001';
    end if;
    if _at < _head.at or _at > greatest(_head.at, clock_microseconds()) + 1000000 then
        raise exception 'the time of the batch is out of line' using errcode = 'SX002';
    end if;
    if
        _position - _expected <> jsonb_array_length(_entries)
        or _seq - _head.seq <> jsonb_array_length(_transfers)
    then
        raise exception 'rows do not match the advance of the chain' using errcode = 'SX009';
    end if;

    -- Double entry: what some accounts lose, others gain. That what they gain is what their rows gain, the updates ask.
    select sum(u.delta) into _delta
    from (
        select f.delta from figure_rows(_figures) as f
        union all
        select r.delta from account_rows(_accounts) as r
    ) as u;
    if _delta <> 0 then
        raise exception 'the batch makes or loses %', _delta using errcode = 'SX009';
    end if;

    _changed := 0;
    if jsonb_array_length(_figures) > 0 then
        update accounts as a
        set balance = u.balance, held = u.held, version = u.version
        from figure_rows(_figures) as u
        where a.id = u.id and a.version = u.before and a.balance = u.balance - u.delta;
        get diagnostics _changed = row_count;
    end if;
    if jsonb_array_length(_accounts) > 0 then
        update accounts as a
        set
            balance = u.balance,
            held = u.held,
            floor = u.floor,
            state = u.state,
            version = u.version,
            metadata = u.metadata,
            next_due = u.next_due,
            lots = u.lots,
            alert = u.alert,
            alerted = u.alerted
        from account_rows(_accounts) as u
        where a.id = u.id and u.before > 0 and a.version = u.before and a.balance = u.balance - u.delta;
        get diagnostics _more = row_count;
        _changed := _changed + _more;
        if _changed < jsonb_array_length(_figures) + jsonb_array_length(_accounts) then
            insert into accounts (
                id, balance, held, floor, state, version, metadata, next_due, lots, alert, alerted
            )
            select
                u.id, u.balance, u.held, u.floor, u.state, u.version, u.metadata, u.next_due, u.lots, u.alert, u.alerted
            from account_rows(_accounts) as u
            where u.before = 0 and u.balance = u.delta;
            get diagnostics _more = row_count;
            _changed := _changed + _more;
        end if;
    end if;
    if _changed < jsonb_array_length(_figures) + jsonb_array_length(_accounts) then
        perform from figure_rows(_figures || _accounts) as u
        left join accounts as a on a.id = u.id
        where coalesce(a.version, 0) = u.before and coalesce(a.balance, 0) <> u.balance - u.delta;
        if found then
            raise exception 'the balance of an account is not what its version had' using errcode = 'SX009';
        end if;
        raise exception 'an account has changed' using errcode = 'SX001';
    end if;

    if _seq > _head.seq then
        insert into transfers (
            seq, position, at, debit, credit, amount, kind, reference, reverses, metadata, burnt, restored,
            debit_balance, debit_held, debit_version, credit_balance, credit_held, credit_version
        )
        select
            u.seq, u.place, _at, u.debit, u.credit, u.amount, u.kind, u.reference, u.reverses, u.metadata,
            u.burnt, u.restored, u.debit_balance, u.debit_held, u.debit_version, u.credit_balance, u.credit_held,
            u.credit_version
        from transfer_rows(_transfers) as u;
    end if;

    if jsonb_array_length(_reversals) > 0 then
        update transfers as t
        set reversed = (r ->> 2)::bigint
        from jsonb_array_elements(_reversals) as r
        where t.seq = (r ->> 0)::bigint and t.reversed = (r ->> 1)::bigint;
        get diagnostics _changed = row_count;
        if _changed <> jsonb_array_length(_reversals) then
            raise exception 'a transfer has been reversed meanwhile' using errcode = 'SX001';
        end if;
    end if;

    if jsonb_array_length(_holds) > 0 then
        update holds as h
        set
            remaining = u.remaining,
            committed = u.committed,
            state = u.state,
            version = u.version,
            claims = u.claims
        from hold_rows(_holds) as u
        where h.id = u.id and u.before > 0 and h.version = u.before;
        get diagnostics _changed = row_count;
        if _changed < jsonb_array_length(_holds) then
            insert into holds (
                id, opened, account, "to", amount, remaining, committed, state, expires_at, version, metadata, claims
            )
            select
                u.id, u.opened, u.account, u.paid_to, u.amount, u.remaining, u.committed, u.state, u.expires_at,
                u.version, u.metadata, u.claims
            from hold_rows(_holds) as u
            where u.before = 0;
            get diagnostics _more = row_count;
            if _changed + _more < jsonb_array_length(_holds) then
                raise exception 'a hold has changed' using errcode = 'SX001';
            end if;
        end if;
    end if;

    if jsonb_array_length(_grants) > 0 then
        update grants as g
        set remaining = u.remaining, held = u.held, state = u.state, version = u.version
        from grant_rows(_grants) as u
        where g.id = u.id and u.before > 0 and g.version = u.before;
        get diagnostics _changed = row_count;
        if _changed < jsonb_array_length(_grants) then
            insert into grants (
                id, account, amount, remaining, held, priority, effective_at, expires_at, state, created, version, metadata
            )
            select
                u.id, u.account, u.amount, u.remaining, u.held, u.priority, u.effective_at, u.expires_at, u.state,
                u.created, u.version, u.metadata
            from grant_rows(_grants) as u
            where u.before = 0;
            get diagnostics _more = row_count;
            if _changed + _more < jsonb_array_length(_grants) then
                raise exception 'a grant has changed' using errcode = 'SX001';
            end if;
        end if;
    end if;

    if _accounts @? 'strict $[*] ? (@[13] == true)' then
        insert into figures (account, at, version, balance, held)
        select u.id, _at, u.version, u.balance, u.held
        from account_rows(_accounts) as u
        where u.figures;
    end if;

    insert into entries (position, at, caller, key, operation, code, answer, hash, receipt)
    select u.place, _at, u.caller, u.key, u.operation, u.code, u.answer, u.hash, u.receipt
    from entry_rows(_entries, _texts) as u;

    update head set position = _position, seq = _seq, hash = _hash, at = _at where id = 0;
end;
$$;

-- What an account had after a batch that changed it last otherwise than by a transfer (opened, held, released,
-- frozen): together with the transfers this is the history of its figures, at the end of every batch.
create table figures (
    account text not null collate "C",
    at bigint not null,
    version positive not null,
    balance bigint not null,
    held nonnegative not null,
    -- The one index: it finds the last row up to a time.
    primary key (account, at, version)
);
insert into figures (account, at, version, balance, held)
select
    a.id as account,
    0 as at,
    a.version,
    a.balance,
    a.held
from accounts as a;

-- The last transfer up to a time, by halving: along gapless numbers times never fall, so no index of times is kept.
create function last_transfer(_until bigint) returns bigint
language plpgsql stable strict
as $$
declare
    _low bigint;
    _high bigint;
    _middle bigint;
begin
    select coalesce(min(t.seq) - 1, 0), coalesce(max(t.seq), 0) into _low, _high from transfers as t;
    while _low < _high loop
        _middle := (_low + _high + 1) / 2;
        if (select t.at from transfers as t where t.seq = _middle) <= _until then
            _low := _middle;
        else
            _high := _middle - 1;
        end if;
    end loop;
    return _low;
end;
$$;

-- The last entry up to a time, likewise.
create function last_entry(_until bigint) returns bigint
language plpgsql stable strict
as $$
declare
    _low bigint;
    _high bigint;
    _middle bigint;
begin
    select coalesce(min(e.position) - 1, 0), coalesce(max(e.position), 0) into _low, _high from entries as e;
    while _low < _high loop
        _middle := (_low + _high + 1) / 2;
        if (select e.at from entries as e where e.position = _middle) <= _until then
            _low := _middle;
        else
            _high := _middle - 1;
        end if;
    end loop;
    return _low;
end;
$$;

-- Who decides and stores for the others, and where they reach it. For speed only: whatever stands here,
-- `store` refuses what was decided on old state.
create table writer (
    id smallint primary key default 0 check (id = 0),
    epoch bigint not null check (epoch > 0),
    address text not null,
    application text not null,
    since bigint not null
);

-- The writer, if a session holds its lock; none is no row.
create function current_writer() returns setof writer
language sql
as $$
    select w.* from writer as w
    where exists (
        select from pg_locks as l
        inner join pg_database as d on l.database = d.oid
        where
            l.locktype = 'advisory' and l.granted and l.classid = 0 and l.objid = 5006 and l.objsubid = 1
            and d.datname = current_database()
    );
$$;

-- Make this session's process the writer if there is none, in a new epoch; then the answer is a row.
create function become_writer(_address text, _application text) returns setof writer
language plpgsql
as $$
begin
    if pg_try_advisory_lock(5006) then
        return query
        insert into writer as w (epoch, address, application, since)
        values (1, _address, _application, clock_microseconds())
        on conflict (id) do update
        set
            epoch = w.epoch + 1, address = excluded.address, application = excluded.application,
            since = excluded.since
        returning w.*;
    end if;
end;
$$;

-- End every session of the writer, unless another one has taken its place; return how many there were.
create function end_writer(_epoch bigint) returns bigint
language sql
as $$
    select count(pg_terminate_backend(a.pid))
    from pg_stat_activity as a
    inner join writer as w on a.application_name = w.application
    where w.epoch = _epoch and a.datname = current_database() and a.pid <> pg_backend_pid();
$$;

-- How far each webhook has accepted the chain; a page is sent again until this has moved past it.
create table webhooks (
    url text primary key collate "C",
    position bigint not null check (position > 0)
);

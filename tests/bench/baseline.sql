-- A ledger without group commit: a transfer a call, a call a commit, both legs and a chain.
create table head (id smallint primary key, seq bigint not null, hash bytea not null) with (fillfactor = 10);
insert into head (id, seq, hash) values (0, 0, decode(repeat('00', 32), 'hex'));

create table accounts (
    id bigint primary key,
    balance bigint not null,
    floor bigint not null default 0,
    check (balance >= floor)
) with (fillfactor = 50);
insert into accounts (id, balance) select n as id, 1000000000 as balance from generate_series(1, 100000) as n;
insert into accounts (id, balance, floor) values (0, 0, -9000000000000000);

create table transfers (
    seq bigint primary key,
    key uuid not null unique,
    debit bigint not null,
    credit bigint not null,
    amount bigint not null check (amount > 0),
    at timestamptz not null,
    hash bytea not null
);
create table entries (
    account bigint not null,
    seq bigint not null,
    amount bigint not null,
    balance bigint not null,
    primary key (account, seq)
);

create function transfer(_key uuid, _debit bigint, _credit bigint, _amount bigint) returns bigint
language plpgsql
as $$
declare
    _seq bigint;
    _hash bytea;
    _paid bigint;
    _got bigint;
    _now timestamptz := clock_timestamp();
begin
    select t.seq into _seq from transfers as t where t.key = _key;
    if found then
        return _seq;
    end if;
    update accounts as a
    set balance = a.balance - _amount
    where a.id = _debit and a.balance - a.floor >= _amount
    returning a.balance into _paid;
    if not found then
        raise exception 'insufficient credits';
    end if;
    update accounts as a set balance = a.balance + _amount where a.id = _credit returning a.balance into _got;
    select h.seq + 1, h.hash into _seq, _hash from head as h where h.id = 0 for update;
    _hash := sha256(
        _hash || int8send(_seq) || uuid_send(_key) || int8send(_debit) || int8send(_credit) || int8send(_amount)
        || int8send(_paid) || int8send(_got) || timestamptz_send(_now)
    );
    insert into transfers (seq, key, debit, credit, amount, at, hash)
    values (_seq, _key, _debit, _credit, _amount, _now, _hash);
    insert into entries (account, seq, amount, balance)
    values (_debit, _seq, -_amount, _paid), (_credit, _seq, _amount, _got);
    update head as h set seq = _seq, hash = _hash where h.id = 0;
    return _seq;
end
$$;

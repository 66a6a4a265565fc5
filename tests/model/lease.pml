/* The protocol by which processes agree on one leader per key, for spin.

   A step in braces after `atomic` is one Lua script or one turn of the event loop; between two of
   them anything may happen. Names on the right say what a step stands for.

   Flight f of process p has the number t = 1 + p*F + f. That number is also the token of its lease
   and the stamp of its entry; 0 is "nothing there". Sets of flights are bit masks.

   A process that is paused or dead without anybody's knowing needs no step of its own: it is one
   that the scheduler does not choose. `crashed` is for those whose end others must survive.

   Settings (-D, see check.py): N processes of F flights; which faults there are; one mutation M_*. */

#define FLIGHTS (N * F)
#define JUNK    (FLIGHTS + 1)  /* stamp of bytes at the key that are no entry of it */
#define ANY     255            /* _ports.SEEN_ANY */
#define UNTOLD  255            /* _ports.EPOCH_UNTOLD */
#define SPOILT  100            /* what is no epoch of ours; + t: the one that LEAD put in its place */
#define ERROR   8              /* message t + ERROR: the error of flight t rides */
#define BIT(t)  (1 << (t))
#define IN(t, set) (((set) >> (t)) & 1)

mtype = { HIT, FAILED, WAIT, LEAD, NONE, LOST, GONE };

/* --- the server: what stands at the key's names -------------------------------------------- */
byte value, error, lease;
byte tomb;                     /* the epoch that the last forget left, while it stands */
bit eternal;                   /* the lease has lost its TTL */
bit sub[N];                    /* process p is subscribed */
chan wire[N] = [CAP] of { byte };  /* messages on their way to process p: t, t + ERROR, or 0 */

/* --- what is on its way although its sender does not wait any more ---------------------------- */
byte late, owed, late_commit;  /* ACQUIREs to come, LEAD replies to come, COMMITs to come */
byte doubled;                  /* ACQUIREs to come whose other copy has been answered */
byte seen_of[FLIGHTS + 1], base_of[FLIGHTS + 1];
byte epoch_of[FLIGHTS + 1];    /* what LEAD told */

/* --- what only the auditor knows -------------------------------------------------------------- */
byte begun, made, failed;      /* calls begun, answered, failed */
byte old;                      /* begun before a forget */
byte kept, kept_at[FLIGHTS + 1];  /* ever stored; ever stored when the call of t began */
byte alone, settled, ended, crashed, excused;
byte calls, in_air, forgets, crashes, finished;
byte spoils;
bit junked, persisted;

/* Names of the invariants: always 0, so that a broken one is named in pan's message. */
hidden byte one_generation_per_lease, newer_value_kept, forgotten_stays_away, right_answer;
hidden byte own_lease_freed_only, no_lease_left, one_call_in_the_air, one_call, paid_is_stored;
hidden byte refused_not_given_again, refresh_is_newer;
#define HOLDS(condition, name) assert((condition) || name)

/* --- the scripts ------------------------------------------------------------------------------ */

inline publish(m) {                                        /* PUBLISH, within a script */
  for (q : 0 .. N - 1) {
    if
    :: sub[q] && nfull(wire[q]) -> wire[q]!m
    :: !sub[q] || full(wire[q]) -> skip
    :: sub[q] && HINTS_LOST -> skip
    fi
  }
  q = 0
}

inline ring(m) {                                           /* the entry rides if it is small */
  if
  :: publish(m)
  :: LARGE -> publish(0)
  fi
}

inline acquire(t, seen) {                                  /* acquire.lua */
  if
#ifdef M_SEEN_IGNORED
  :: value != 0 -> reply = HIT; got = value
#else
  :: value != 0 && seen != ANY && value != seen -> reply = HIT; got = value
#endif
  :: else ->
    if
#ifndef M_ERROR_IGNORED
    :: error != 0 && seen != ANY -> reply = FAILED; got = error
#endif
    :: else ->
      if
#ifdef M_OWN_TOKEN_UNKNOWN
      :: lease != 0 && !eternal -> reply = WAIT; got = lease; base = value
#elif defined(M_ETERNAL_LEASE)
      :: lease != 0 && lease != t -> reply = WAIT; got = lease; base = value
#else
      :: lease != 0 && lease != t && !eternal -> reply = WAIT; got = lease; base = value
#endif
      :: else ->
        reply = LEAD; base = value; eternal = 0;
#ifndef M_NO_LEASE
        lease = t;
#endif
        tomb = (tomb == SPOILT -> SPOILT + t : tomb)
      fi
    fi
  fi
}

#ifdef M_COMMIT_ANY_LEASE
#define UNDER(t) (lease != 0)
#elif defined(M_ALONE_TRUSTS_LEASE)
#define UNDER(t) (lease == (t))
#else
#define UNDER(t) (lease == (t) && epoch_of[t] != UNTOLD)
#endif
#ifdef M_COMMIT_ANY_STAMP
#define CHANGED(base) 0
#else
#define CHANGED(base) (value != (base))
#endif
#ifdef M_COMMIT_OVER_TOMB
#define FORGOTTEN(t) 0
#elif defined(M_SPOILT_IGNORED)
#define FORGOTTEN(t) (tomb && tomb != SPOILT && tomb != epoch_of[t])
#elif defined(M_EPOCH_IGNORED)
#define FORGOTTEN(t) (tomb && !UNDER(t))
#else
#define FORGOTTEN(t) (tomb && tomb != epoch_of[t])
#endif
#ifdef M_COMMIT_TWICE_REFUSED
#define AGAIN(t) 0
#else
#define AGAIN(t) (!UNDER(t) && value == (t))               /* sent twice: its own stamp is there */
#endif
#define OTHERS(t) (lease != 0 && lease != (t) && !eternal)

inline drop(t) {                                           /* a lease that came late goes */
  if
#ifndef M_REFUSED_KEEPS_LEASE
  :: lease == t -> lease = 0; eternal = 0; publish(0)
#endif
  :: else -> skip
  fi
}

inline commit(t, base) {                                   /* commit.lua */
  if
  :: AGAIN(t) -> stored = 1; drop(t)
  :: !AGAIN(t) && !UNDER(t) && (OTHERS(t) || CHANGED(base)) -> stored = 0; drop(t)
  :: !AGAIN(t) && (UNDER(t) || !(OTHERS(t) || CHANGED(base))) && FORGOTTEN(t) ->
    stored = 0; drop(t)
  :: else ->
    HOLDS(lease == 0 || lease == t || eternal, one_generation_per_lease);
    HOLDS(value == 0 || value == JUNK || value == t || IN(value, kept_at[t])
          || (lease == t && !IN(t, alone)), newer_value_kept);
    HOLDS(!IN(t, old), forgotten_stays_away);
    value = t; error = 0; kept = kept | BIT(t); stored = 1;
#ifndef M_COMMIT_KEEPS_LEASE
    lease = 0; eternal = 0;
#endif
#ifndef M_COMMIT_SILENT
    ring(t)
#endif
  fi
}

inline fail(t) {                                           /* fail.lua */
  if
#ifdef M_FAIL_ANY_LEASE
  :: 1 ->
#else
  :: lease != t -> skip
#ifndef M_FAIL_OVER_TOMB
  :: lease == t && FORGOTTEN(t) -> lease = 0; eternal = 0; publish(0)
#endif
  :: else ->
#endif
    HOLDS(!IN(t, old), forgotten_stays_away);
    error = t; lease = 0; eternal = 0;
#ifndef M_FAIL_SILENT
    ring(t + ERROR)
#endif
  fi
}

inline release(t) {                                        /* release.lua */
  if
#ifdef M_RELEASE_ANY_LEASE
  :: lease != 0 ->
#else
  :: lease == t ->
#endif
    HOLDS(lease == t, own_lease_freed_only);
    lease = 0; eternal = 0; publish(0)
  :: else -> skip
  fi
}

inline forget() {                                          /* forget.lua */
  value = 0; error = 0; old = old | begun;
  lease = 0; eternal = 0;
#ifdef M_FORGET_SAME_EPOCH
  tomb = 1;
#elif !defined(M_FORGET_NO_TOMB)
  tomb = forgets;                                          /* another one each time */
#endif
  publish(0)
}

/* a ridden entry counts if the leader that was last waited for made it; got is that one's token */
#ifdef M_RIDES_ANY
#define NOT_RIDING (m == seen)
#else
#define NOT_RIDING (m == seen || (m > ERROR -> m - ERROR : m) != got)
#endif
#ifdef M_SHORT_TOMB
#define TOMB_MAY_END 1
#else                          /* it stands for as long as a flight may last (Policy.deadline) */
#define TOMB_MAY_END (!(old & ~ended) && !(old & late_commit))
#endif

/* --- one process, one flight after the other ---------------------------------------------------- */

inline ends(t) { settled = settled | BIT(t); ended = ended | BIT(t) }

/* Room.fly, Claim.resolve: the reply to an ACQUIRE, or none, with all that may go wrong */
inline ask() {
  if
  :: acquire(t, seen)
  :: REPLIES_LOST && !again -> acquire(t, seen); reply = LOST; again = 1 /* Lane sends it again */
  :: AWAY -> reply = NONE                                  /* FailOpenStore: it never got there */
  :: AWAY -> acquire(t, seen); reply = NONE                /* it did, and nobody heard */
  :: LATE -> late = late | BIT(t); seen_of[t] = seen; reply = NONE    /* it will */
  :: LATE && ABANDON -> late = late | BIT(t); seen_of[t] = seen; reply = GONE  /* cancelled */
  :: TWICE -> acquire(t, seen); doubled = doubled | BIT(t); seen_of[t] = seen  /* another comes */
  fi;
  if
  :: reply == LEAD -> epoch_of[t] = tomb
  :: reply == NONE -> alone = alone | BIT(t); epoch_of[t] = UNTOLD; base = 0; got = 0
  :: else -> skip
  fi
}

proctype Process(byte p) {
  byte f, t, seen, base, got, m, old_then, kept_then, q;
  mtype reply;
  bit refresh, refused, again, stored;

  do
  :: f == F -> break
  :: else ->
    atomic {                                               /* Cache.get_or_call */
      t = 1 + p * F + f; f++; old_then = old; kept_then = kept; again = 0;
      if
      :: seen = 0
      :: REFRESH -> seen = ANY; refresh = 1                /* cache_mode="refresh" */
      fi
    }
look:
    skip;
    atomic { ask() };                                      /* Claim.resolve */
judge:
    atomic {                                               /* Claim._judge */
      if
      :: reply == LOST -> goto look
      :: reply == LEAD || reply == NONE -> goto pay
      :: reply == GONE -> goto abandon
      :: reply == FAILED -> goto told
      :: reply == HIT -> goto read
      :: reply == WAIT -> skip
      fi;
      if                                                   /* Claim._follow */
#ifdef M_REFRESH_TAKES_OLD
      :: seen == ANY -> seen = 0
#else
      :: seen == ANY -> seen = base
#endif
      :: else -> skip
      fi;
      base = 0; again = 0
    };
    atomic {
      if                                                   /* Switchboard.listen, DeafBell */
      :: sub[p] = 1
      :: HINTS_LOST -> skip
      fi
#ifdef M_NO_SECOND_LOOK
      ; goto waiting
#endif
    };
again_look:
    skip;
    atomic {
      ask();
      if
      :: reply == LOST -> goto again_look
      :: reply == WAIT -> base = 0; again = 0
      :: else -> goto judge
      fi
    };
waiting:
    skip;
    atomic {                                               /* Bell.wait, Claim._rung */
      if
      :: wire[p]?m ->
        if
        :: m == 0 -> goto again_look
        :: m != 0 && NOT_RIDING -> m = 0; goto again_look
        :: else ->
          if
          :: m > ERROR -> got = m - ERROR; m = 0; goto told
          :: else -> got = m; m = 0; goto read
          fi
        fi
#ifndef M_NO_TIMER
      :: TIMER -> goto again_look                          /* the lease ends, or 2 s are over */
#endif
      :: ABANDON -> goto abandon                           /* cancelled while it waits */
      fi
    };

read:
    atomic {                                               /* Claim._read, decode_entry */
#ifndef M_FINGERPRINT
      if
      :: got == JUNK -> seen = JUNK; got = 0; goto look
      :: else -> skip
      fi;
#endif
      if                                                   /* stale, or not for this caller */
      :: REFUSALS && !refused -> seen = got; refused = 1; got = 0; goto look
      :: 1 -> skip
      fi;
      HOLDS(got != JUNK && IN(got, made), right_answer);
      HOLDS(!IN(got, old_then), forgotten_stays_away);
      HOLDS(got != seen, refused_not_given_again);
      HOLDS(!refresh || !IN(got, kept_then), refresh_is_newer);
      ends(t); goto landed
    };
told:
    atomic {                                               /* _delivery._told */
      HOLDS(IN(got, failed), right_answer);
      HOLDS(!IN(got, old_then), forgotten_stays_away);
      ends(t); goto landed
    };

pay:
    skip;
    atomic {                                               /* Room._lead: the call begins */
      begun = begun | BIT(t); kept_at[t] = kept; calls++; in_air++;
      HOLDS(in_air == 1 || !HEALTHY, one_call_in_the_air)
    };
    atomic {                                               /* it ends */
      in_air--;
      if
      :: made = made | BIT(t)
      :: ERRORS -> failed = failed | BIT(t); goto failing  /* Reach.FLEET, refused completions */
      :: ABANDON -> goto abandon                           /* Reach.OWN, Unstorable, cancelled */
      :: crashes < CRASHES -> crashes++; crashed = crashed | BIT(t); ends(t); goto landed
      fi;
      settled = settled | BIT(t); again = 0
    };
storing:
    skip;
    atomic {                                               /* Claim.commit */
      if
      :: commit(t, base);
         HOLDS(stored || !PAID, paid_is_stored)
      :: REPLIES_LOST && !again -> commit(t, base); again = 1; goto storing
      :: AWAY -> goto freeing                              /* nobody knows: RELEASE */
      :: AWAY -> commit(t, base); goto freeing
      :: LATE -> late_commit = late_commit | BIT(t); base_of[t] = base; goto freeing
      fi;
      ended = ended | BIT(t); goto landed
    };
failing:
    skip;
    atomic {                                               /* Claim.fail */
      settled = settled | BIT(t);
      if
#ifndef M_ALONE_TRUSTS_LEASE
      :: IN(t, alone) -> goto freeing
      :: !IN(t, alone) -> fail(t)
#else
      :: fail(t)
#endif
      :: AWAY -> goto freeing
      :: AWAY && !IN(t, alone) -> fail(t); goto freeing
      :: REPLIES_LOST && !again && !IN(t, alone) -> fail(t); again = 1; goto failing
      fi;
      ended = ended | BIT(t); goto landed
    };
abandon:
    atomic {                                               /* Claim.close */
      settled = settled | BIT(t);
#ifdef M_NO_RELEASE
      ended = ended | BIT(t); goto landed
#endif
    };
freeing:
    skip;
    atomic {
      if
      :: release(t)
      :: AWAY -> excused = excused | BIT(t)                /* it expires */
      fi;
      ended = ended | BIT(t)
    };
landed:
    atomic {                                               /* the flight is over */
      epoch_of[t] = (IN(t, late_commit) -> epoch_of[t] : 0);
      seen = 0; base = 0; got = 0; m = 0; old_then = 0; kept_then = 0; t = 0;
      reply = 0; refresh = 0; refused = 0; again = 0; stored = 0;
      do                                                   /* heard by nobody; Switchboard._sweep */
      :: wire[p]?m -> m = 0
      :: break
      od;
      if
      :: 1 -> skip                                         /* the subscription lingers */
      :: sub[p] = 0; do :: wire[p]?m -> m = 0 :: empty(wire[p]) -> break od
      fi
    }
  od;
  finished++
}

/* --- the rest of the world ---------------------------------------------------------------------- */

inline pick(set) {
  if
  :: IN(1, set) -> t = 1
  :: IN(2, set) -> t = 2
#if N * F > 2
  :: IN(3, set) -> t = 3
#endif
#if N * F > 3
  :: IN(4, set) -> t = 4
#endif
#if N * F > 4
  :: IN(5, set) -> t = 5
  :: IN(6, set) -> t = 6
#endif
  fi
}

proctype World() {
  byte t, got, base, q;
  mtype reply;
  bit stored;

end:
  do
  :: atomic { EXPIRY && lease != 0 && !eternal -> lease = 0 }           /* PX; Claim._depose */
  :: atomic { CRASHES && lease != 0 && !eternal && IN(lease, crashed) -> lease = 0 }
  :: atomic { EVICTION && value != 0 -> value = 0 }        /* evicted, or its TTL is over */
  :: atomic { ERRORS_END && error != 0 -> error = 0 }      /* the error window is over */
  :: atomic { forgets < FORGETS -> forgets++; forget() }   /* Cache.forget, another process */
  :: atomic { tomb && TOMB_MAY_END -> tomb = 0 }
  :: atomic { FOREIGN && !junked -> junked = 1; value = JUNK }
  :: atomic { spoils < SPOILS -> spoils++; tomb = SPOILT } /* the tombstone's place */
  :: atomic { PERSISTS && lease != 0 && !persisted -> persisted = 1; eternal = 1 }
  :: atomic { late != 0 ->                                 /* a timed-out ACQUIRE arrives */
       pick(late); late = late & ~BIT(t);
       acquire(t, seen_of[t]); seen_of[t] = 0;
       if
       :: reply == LEAD -> owed = owed | BIT(t)
       :: else -> skip
       fi;
       t = 0; got = 0; base = 0; reply = 0 }
  :: atomic { doubled != 0 ->                              /* and so does a second copy of one */
       pick(doubled); doubled = doubled & ~BIT(t);
       acquire(t, seen_of[t]); seen_of[t] = 0;
       if                                                  /* nobody hears its reply: it expires */
       :: reply == LEAD -> excused = excused | BIT(t)
       :: else -> skip
       fi;
       t = 0; got = 0; base = 0; reply = 0 }
  :: atomic { owed != 0 ->                                 /* Claim._late: its reply arrives */
       pick(owed); owed = owed & ~BIT(t);
       if
#ifndef M_LATE_UNSETTLED
       :: IN(t, settled) && !IN(t, crashed) -> release(t)
#endif
       :: !IN(t, settled) || IN(t, crashed) -> skip
       :: AWAY -> excused = excused | BIT(t)
#ifdef M_LATE_UNSETTLED
       :: IN(t, settled) -> skip
#endif
       fi;
       t = 0 }
  :: atomic { late_commit != 0 ->                          /* a timed-out COMMIT arrives */
       pick(late_commit); late_commit = late_commit & ~BIT(t);
       commit(t, base_of[t]); base_of[t] = 0; epoch_of[t] = 0;
       t = 0; stored = 0 }
  :: atomic { finished == N && !late && !doubled && !owed && !late_commit ->  /* everyone is done */
       HOLDS(lease == 0 || IN(lease, crashed | excused), no_lease_left);
       HOLDS(calls == 1 || !HEALTHY || REFRESH, one_call);
       break }
  od
}

init {
  byte p;
  atomic {
    for (p : 0 .. N - 1) { run Process(p) }
    p = 0;
    run World()
  }
}

#ifdef LIVENESS
ltl way_out { <> (finished == N) }
#endif

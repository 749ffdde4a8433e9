BEGIN TRANSACTION;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    context INTEGER NOT NULL REFERENCES contexts (id),
    question TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    choice TEXT NOT NULL,
    text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    margin REAL,
    served_by TEXT NOT NULL,
    cost REAL,
    run TEXT NOT NULL,
    created REAL NOT NULL
, finish_reason TEXT NOT NULL DEFAULT '', cut_off INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0, usable INTEGER NOT NULL DEFAULT 1);
INSERT INTO "answers" VALUES(1,1,'q1','anatomy','correct','A','ANSWER: A',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79570896341182613376e+09,'',0,0,1);
INSERT INTO "answers" VALUES(2,1,'q2','virology','wrong','B','ANSWER: B',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79570896341189956664e+09,'',0,0,1);
INSERT INTO "answers" VALUES(3,1,'q3','virology','unparsed','','well',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79570896341193628306e+09,'',0,0,1);
INSERT INTO "answers" VALUES(4,1,'q2','virology','correct','A','ANSWER: A',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001-confirm',1.7957089634119749069e+09,'',0,0,1);
INSERT INTO "answers" VALUES(5,1,'q3','virology','error','','HTTP 500',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001-confirm',1.79570896341200709339e+09,'',0,0,1);
INSERT INTO "answers" VALUES(6,1,'q1','anatomy','wrong','C','ANSWER: C',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001-again',1.79570896341203880305e+09,'',0,0,1);
INSERT INTO "answers" VALUES(7,2,'q3','virology','correct','D','ANSWER: D',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79570896341206955905e+09,'',0,0,1);
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (fingerprint, prompt)
);
INSERT INTO "contexts" VALUES(1,'free','prompt','{"generation": {"max_tokens": 512}}');
INSERT INTO "contexts" VALUES(2,'constrained','prompt','{"generation": {"max_tokens": 512}}');
CREATE TABLE questions (
    hash TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    text TEXT NOT NULL,
    choices TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
INSERT INTO "runs" VALUES('20260101T000000Z-0001',1.79570896341142058373e+09,'{"limit": null, "max_tokens": 512, "task": "inspect_evals/mmlu_0_shot"}');
INSERT INTO "runs" VALUES('20260102T000000Z-0002',1.79570896341162061695e+09,'{"limit": null, "max_tokens": 512, "task": "inspect_evals/mmlu_0_shot"}');
CREATE TABLE shards (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    shard TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (run, target, shard)
) WITHOUT ROWID;
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','','{"dataset": {"questions": 3, "source": "bundled"}, "facts": {"versions": {}}, "fingerprint": "free", "notes": [], "prompt_hash": "prompt", "selected": {"anatomy": 1, "virology": 2}}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','#reask','{"asked": 1, "reason": ""}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','anatomy','{"mode": "full", "usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','preflight','{"usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','suite','{"mode": "full", "usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','virology','{"mode": "full", "usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260102T000000Z-0002','mine','','{"dataset": {"questions": 3, "source": "bundled"}, "facts": {"versions": {}}, "fingerprint": "free", "notes": [], "prompt_hash": "prompt", "selected": {"anatomy": 1, "virology": 2}}');
INSERT INTO "shards" VALUES('20260102T000000Z-0002','mine','preflight','{"usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260102T000000Z-0002','mine','quick','{"mode": "quick", "usage": null, "verdict": null}');
CREATE TABLE sightings (id INTEGER PRIMARY KEY, server TEXT NOT NULL, weights TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL);
CREATE TABLE tries (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, PRIMARY KEY (run, target, kind)) WITHOUT ROWID;
CREATE TABLE uses (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    answer INTEGER NOT NULL REFERENCES answers (id),
    PRIMARY KEY (run, target, answer)
) WITHOUT ROWID;
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine',1);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine',2);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine',3);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine#again',7);
INSERT INTO "uses" VALUES('20260101T000000Z-0001-again','mine',6);
INSERT INTO "uses" VALUES('20260101T000000Z-0001-confirm','mine',4);
INSERT INTO "uses" VALUES('20260101T000000Z-0001-confirm','mine',5);
INSERT INTO "uses" VALUES('20260102T000000Z-0002','mine',1);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE INDEX sightings_by_server ON sightings (server, id);
COMMIT;
PRAGMA user_version = 4;

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
, finish_reason TEXT NOT NULL DEFAULT '', cut_off INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0, usable INTEGER NOT NULL DEFAULT 1, look TEXT NOT NULL DEFAULT 'first');
INSERT INTO "answers" VALUES(1,1,'q1','anatomy','correct','A','ANSWER: A',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059812664982e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(2,1,'q2','virology','wrong','B','ANSWER: B',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059819841381e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(3,1,'q3','virology','unparsed','','well',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059823441505e+09,'',0,0,1,'first');
INSERT INTO "answers" VALUES(4,1,'q2','virology','correct','A','ANSWER: A',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059827518465e+09,'',0,0,1,'confirm');
INSERT INTO "answers" VALUES(5,1,'q1','anatomy','wrong','C','ANSWER: C',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059830760954e+09,'',0,0,1,'repeat');
INSERT INTO "answers" VALUES(6,2,'q3','virology','correct','D','ANSWER: D',100,5,0.1,NULL,'',NULL,'20260101T000000Z-0001',1.79573080059833884236e+09,'',0,0,1,'constrained');
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (fingerprint, prompt)
);
INSERT INTO "contexts" VALUES(1,'free','prompt','{"generation": {"max_tokens": 512}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}');
INSERT INTO "contexts" VALUES(2,'constrained','prompt','{"generation": {"max_tokens": 512}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}');
CREATE TABLE questions (
    hash TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    text TEXT NOT NULL,
    choices TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "questions" VALUES('q1','anatomy','anatomy_0','Which “one” is 0?','["w", "x", "y", "z"]','A');
INSERT INTO "questions" VALUES('q2','virology','virology_1','Which “one” is 1?','["w", "x", "y", "z"]','A');
INSERT INTO "questions" VALUES('q3','virology','virology_2','Which “one” is 2?','["w", "x", "y", "z"]','D');
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
INSERT INTO "runs" VALUES('20260101T000000Z-0001',1.79573080059738755223e+09,'{"limit": null, "max_tokens": 512, "task": "inspect_evals/mmlu_0_shot"}');
INSERT INTO "runs" VALUES('20260102T000000Z-0002',1.79573080059902310374e+09,'{"limit": null, "max_tokens": 512, "task": "inspect_evals/mmlu_0_shot"}');
CREATE TABLE "shards" (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, benchmark TEXT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (run, target, kind, benchmark, name)) WITHOUT ROWID;
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','entry','mmlu','','{"adapter_name": null, "dataset": {"digest": "d", "questions": 3, "revision": "r", "shots": 0, "source": "hub", "subjects": 2}, "facts": {"generation": {"max_tokens": 512}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}, "fingerprint": "free", "mode": "full", "model_id": "mine", "notes": [], "prompt_hash": "prompt", "seed": 1, "selected": {"anatomy": 1, "virology": 2}}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','group','mmlu','anatomy','{"usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','group','mmlu','virology','{"usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','preflight','mmlu','','{"usage": null, "verdict": null}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','reask','mmlu','','{"asked": 1, "reason": ""}');
INSERT INTO "shards" VALUES('20260101T000000Z-0001','mine','suite','mmlu','','{"usage": {"asked": 3, "seconds": 1.0}, "verdict": null}');
INSERT INTO "shards" VALUES('20260102T000000Z-0002','mine','entry','mmlu','','{"adapter_name": null, "dataset": {"digest": "d", "questions": 3, "revision": "r", "shots": 0, "source": "hub", "subjects": 2}, "facts": {"generation": {"max_tokens": 512}, "model": "m", "versions": {"scorer": "s1", "task": "inspect_evals/mmlu_0_shot@2-A"}}, "fingerprint": "free", "mode": "quick", "model_id": "mine", "notes": [], "prompt_hash": "prompt", "seed": 1, "selected": {"anatomy": 1, "virology": 2}}');
INSERT INTO "shards" VALUES('20260102T000000Z-0002','mine','quick','mmlu','','{"usage": null, "verdict": null}');
CREATE TABLE sightings (id INTEGER PRIMARY KEY, server TEXT NOT NULL, weights TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL);
INSERT INTO "sightings" VALUES(1,'http://127.0.0.1:1 m','observed w','20260101T000000Z-0001',1.0,'{"prompts": {}}');
CREATE TABLE tries (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, PRIMARY KEY (run, target, kind)) WITHOUT ROWID;
INSERT INTO "tries" VALUES('20260101T000000Z-0001','mine','full','all','free','floor 0.5','d',1,1.0,'',1.79573080059889221191e+09,'INCONCLUSIVE');
INSERT INTO "tries" VALUES('20260102T000000Z-0002','mine','quick','1','free','floor 0.5','d',2,0.5,'20260101T000000Z-0001',1.79573080059924817088e+09,NULL);
CREATE TABLE "uses" (run TEXT NOT NULL, target TEXT NOT NULL, look TEXT NOT NULL, answer INTEGER NOT NULL REFERENCES answers (id), PRIMARY KEY (run, target, look, answer)) WITHOUT ROWID;
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','confirm',4);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','constrained',6);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first',1);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first',2);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','first',3);
INSERT INTO "uses" VALUES('20260101T000000Z-0001','mine','repeat',5);
INSERT INTO "uses" VALUES('20260102T000000Z-0002','mine','first',1);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE INDEX sightings_by_server ON sightings (server, id);
COMMIT;
PRAGMA user_version = 5;

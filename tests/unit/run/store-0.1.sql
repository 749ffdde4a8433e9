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
INSERT INTO "answers" VALUES(1,1,'ebce67993731ba37364a862824eabc13','anatomy','correct','A','ANSWER: A',57,5,0.008495,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.795708867043697834e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(2,1,'3d85301be8c108dc3133efd2e8624f31','anatomy','unparsed','','D',57,5,0.172146,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886704726839062e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(3,1,'6cfebf7809cc52f3d2eb2154a151c9e5','anatomy','correct','C','The right one is that.

ANSWER: C.',57,5,0.171619,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886704882526395e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(4,1,'342e49ddbcb6645e30dcb6d3b6d43792','anatomy','unparsed','','I can not say.',57,5,0.171185,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886704982638363e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(5,1,'97d1bff7e43844a179cc8a2e9bfb5138','virology','correct','C','ANSWER: C',57,5,0.003191,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886709441041948e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(6,1,'dfaed17a76992f049f9b1db2005a41b7','virology','correct','B','ANSWER: B',57,5,0.002547,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886709575486183e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(7,1,'0606a2d8ec9feb3d6a8524193db32417','virology','correct','D','ANSWER: D',57,5,0.002129,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886709694457058e+09,'stop',0,0,1);
INSERT INTO "answers" VALUES(8,1,'207e699990a2eeb51d41014899d6bb48','virology','correct','A','ANSWER: A',57,5,0.001744,NULL,'smollm2',NULL,'20261126T160102Z-e14c',1.79570886709763526912e+09,'stop',0,0,1);
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    prompt TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (fingerprint, prompt)
);
INSERT INTO "contexts" VALUES(1,'36b52e65c5e77b2f','ba9520b4c804aa2a','{"extra_body": {}, "generation": {"answer_format": "free", "logprobs": null, "max_tokens": 512, "temperature": 0.0}, "identity": {"base_url": "http://127.0.0.1:44845/v1", "root": "models/smollm2", "seen": "b3ffc476d6", "version": "0.32.0"}, "model": "smollm2", "route": null, "versions": {"inspect_ai": "0.3.285", "inspect_evals": "0.26.0", "task": "inspect_evals/mmlu_0_shot@4"}}');
CREATE TABLE questions (
    hash TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    text TEXT NOT NULL,
    choices TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "questions" VALUES('0606a2d8ec9feb3d6a8524193db32417','virology','mmlu_e17833ef','Two influenza A strains infect one cell and swap genome segments, giving a virus with a new haemagglutinin. This sudden change is called antigenic','["drift", "masking", "tolerance", "shift"]','D');
INSERT INTO "questions" VALUES('207e699990a2eeb51d41014899d6bb48','virology','mmlu_cd59e88f','Which of these viruses has a DNA genome?','["Herpes simplex virus", "Measles virus", "Rabies virus", "Poliovirus"]','A');
INSERT INTO "questions" VALUES('342e49ddbcb6645e30dcb6d3b6d43792','anatomy','mmlu_75c72efe','Which rotator cuff muscle starts the abduction of the arm?','["Infraspinatus", "Supraspinatus", "Teres minor", "Subscapularis"]','B');
INSERT INTO "questions" VALUES('3d85301be8c108dc3133efd2e8624f31','anatomy','mmlu_5edc649e','A fracture through the middle of the shaft of the humerus is most likely to injure which nerve?','["Musculocutaneous", "Median", "Ulnar", "Radial"]','D');
INSERT INTO "questions" VALUES('6cfebf7809cc52f3d2eb2154a151c9e5','anatomy','mmlu_91c49e16','Into which chamber of the heart do the pulmonary veins empty?','["Right atrium", "Right ventricle", "Left atrium", "Left ventricle"]','C');
INSERT INTO "questions" VALUES('97d1bff7e43844a179cc8a2e9bfb5138','virology','mmlu_cd5e4c61','Reactivation of which virus causes shingles?','["Herpes simplex virus type 2", "Cytomegalovirus", "Varicella-zoster virus", "Epstein–Barr virus"]','C');
INSERT INTO "questions" VALUES('dfaed17a76992f049f9b1db2005a41b7','virology','mmlu_48c9e37d','Which enzyme do retroviruses use to copy their RNA genome into DNA?','["Thymidine kinase", "Reverse transcriptase", "DNA ligase", "Neuraminidase"]','B');
INSERT INTO "questions" VALUES('ebce67993731ba37364a862824eabc13','anatomy','mmlu_00eb245d','Which nerve leaves the skull through the foramen ovale?','["Mandibular nerve", "Maxillary nerve", "Ophthalmic nerve", "Hypoglossal nerve"]','A');
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    settings TEXT NOT NULL
);
INSERT INTO "runs" VALUES('20261126T160102Z-e14c',1.7957088625956630707e+09,'{"adapter_names": [], "allow_routes": [], "baseline": false, "confirm": false, "dataset": null, "files": {}, "fresh": false, "limit": null, "max_cost": null, "max_tokens": 512, "measure": false, "measure_missing": false, "model_ids": ["double"], "seed": null, "subjects": ["anatomy", "virology"], "task": "inspect_evals/mmlu_0_shot", "temperature": 0.0}');
CREATE TABLE shards (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    shard TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (run, target, shard)
) WITHOUT ROWID;
INSERT INTO "shards" VALUES('20261126T160102Z-e14c','double','','{"adapter_name": null, "dataset": {"digest": "7f3d88cc63c1c082", "questions": 228, "revision": "", "shots": 0, "source": "bundled", "subjects": 57}, "facts": {"extra_body": {}, "generation": {"answer_format": "free", "logprobs": null, "max_tokens": 512, "temperature": 0.0}, "identity": {"base_url": "http://127.0.0.1:44845/v1", "root": "models/smollm2", "seen": "b3ffc476d6", "version": "0.32.0"}, "model": "smollm2", "route": null, "versions": {"inspect_ai": "0.3.285", "inspect_evals": "0.26.0", "task": "inspect_evals/mmlu_0_shot@4"}}, "fingerprint": "36b52e65c5e77b2f", "model_id": "double", "notes": [], "prompt_hash": "ba9520b4c804aa2a", "seed": 917843557, "selected": {"anatomy": 4, "virology": 4}}');
INSERT INTO "shards" VALUES('20261126T160102Z-e14c','double','suite','{"attempt": {"after": "", "number": 1, "said": null, "share": 1.0}, "mode": null, "reference": {"accuracy": 0.6, "kind": "floor", "source": "thresholds"}, "usage": {"answered": 8, "asked": 8, "completion_tokens": 40, "cost": null, "prompt_tokens": 456, "questions": 8, "seconds": 0.626420994001819}, "verdict": {"budget": {"domains": 0.0, "miss_share": 1.0, "pooled": 0.037500000000000006, "reserved": 0.0, "spent": 0.0, "subjects": 0.0125, "total": 0.05, "unparsed": 0.0}, "counts": {"candidate_accuracy": 0.75, "correct": 6, "cut_off": 0, "errors": 0, "n": 8, "unparsed": 2}, "domains": [], "drop": -0.15000000000000002, "error_rate": 0.0, "evidence": [{"hypothesis": "at least 60 % right", "measure": "p", "method": "exact binomial", "rejected": false, "share": 0.037500000000000006, "threshold": 0.037500000000000006, "value": 0.89362432}, {"hypothesis": "at most 20 % right", "measure": "p", "method": "exact binomial", "rejected": true, "share": 0.05, "threshold": 0.05, "value": 0.0012313599999999984}], "exit_code": 10, "fails": true, "floor": 0.6, "interval": {"high": 0.25085579441282413, "level": 0.95, "low": -0.36814597375005575}, "kind": "INCONCLUSIVE", "policy": {"catch": 0.4, "false_alarm": 0.05, "floor": 0.6, "max_error_rate": 0.005, "max_unparsed": 0.1, "max_unparsed_increase": 0.02, "miss": 0.05, "on_inconclusive": "fail", "reason": "few questions", "tolerate": 0.0}, "population": null, "reasons": ["2 of 8 answers of the candidate are unreadable (25.0%). More than 10.0% (max_unparsed) lets nothing be concluded: raise --max-tokens, set answer_format: constrained for the target, or switch its thinking off.", "Accuracy 75.0% on 8 questions, 15.0 points over the floor 60.0% (95 % interval -25.1 to +36.8). \u201cat most 20 % right\u201d is ruled out (p = 0.0012, at most 0.05 is needed)."], "reference": "floor", "schema": 2, "scope": "suite", "smallest_visible_drop": 0.553619384765625, "subject": null, "subjects": [], "unparsed": {"candidate_rate": 0.25, "evidence": null, "failed": false, "increase": null, "limit": 0.02, "reference_rate": null}}}');
CREATE TABLE sightings (id INTEGER PRIMARY KEY, server TEXT NOT NULL, weights TEXT NOT NULL, run TEXT NOT NULL, at REAL NOT NULL, facts TEXT NOT NULL);
INSERT INTO "sightings" VALUES(1,'ecd6ffd89de62b561d33949c','b3ffc476d6','20261126T160102Z-e14c',1.79570886275781297679e+09,'{"signature": {"answers": [["774246deb124", []], ["4d9f1ae9bcd4", []], ["bcf4889e5576", []], ["f0f573f4d1c8", []], ["5f5c8c27571d", []], ["06dc86d752e0", []], ["c4d3128c2c08", []], ["cd5bdb77c1c0", []], ["d82794aeaf8f", []], ["9a04dbfc4ccb", []], ["e6f0d55c8f3c", []], ["4c91aa2454d8", []]], "by": "texts", "mean_noise": 0.0, "noise": 0.0, "prompts": "38a06a73e742"}, "started": null, "weights": ""}');
CREATE TABLE tries (run TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, variant TEXT NOT NULL, candidate TEXT NOT NULL, reference TEXT NOT NULL, questions TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, follows TEXT NOT NULL, started REAL NOT NULL, verdict TEXT, PRIMARY KEY (run, target, kind)) WITHOUT ROWID;
INSERT INTO "tries" VALUES('20261126T160102Z-e14c','double','full','all','36b52e65c5e77b2f','floor 0.6','2a186234b18ec948',1,1.0,'',1.7957088671206281185e+09,'INCONCLUSIVE');
CREATE TABLE uses (
    run TEXT NOT NULL,
    target TEXT NOT NULL,
    answer INTEGER NOT NULL REFERENCES answers (id),
    PRIMARY KEY (run, target, answer)
) WITHOUT ROWID;
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',1);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',2);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',3);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',4);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',5);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',6);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',7);
INSERT INTO "uses" VALUES('20261126T160102Z-e14c','double',8);
CREATE INDEX answers_by_question ON answers (context, question, id);
CREATE INDEX sightings_by_server ON sightings (server, id);
PRAGMA user_version = 4;
COMMIT;

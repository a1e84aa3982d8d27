"""The first inputs of each target, and the words from which fuzzing combines others."""

from __future__ import annotations

RUN = b'{"taskId": "t", "runId": "r", "timestamp": "2026", "x": [1.0, -0, 1e400, {"a": null}, true]}'
ODD = b'{"taskId":"t","runId":"a","runId":"b","timestamp":"1","\\u0074":"\\ud83d\\ude00\\ud800\\/\\u2028"}'
LAID_OUT = b'{\n      "taskId": "t",\n      "runId": "r",\n      "timestamp": "2",\n      "x": []\n    }'
OWNER = (
    b'{"schema_version":1,"kind":"codex-lock-owner","token":"x","task_id":"t","pid":7,"host":"h",'
    b'"acquired_at":"2026-01-01T00:00:00.000Z","stale_ms":300000}\n'
)
EVENT = b'{"type": "run:completed", "payload": %b}'
SNAPSHOT = b'{\n  "taskId": "t",\n  "lastRunAt": "2",\n  "runs": [\n    %b\n  ]\n}'

_DOCUMENTS = [RUN, ODD, b"[]", b"{}", b'"\\u00e9\xc3\xa9"', b"-0.5E+3", b" [1, [2, {}], []] ", b"[" * 513]

SEEDS = {
    "canonical_text": [*_DOCUMENTS, b'{"a":' * 512 + b"[]" + b"}" * 512],
    "run_reader": [
        RUN,
        ODD,
        b'{"type": "run:completed", "payload": %b}' % RUN,
        b'{"type": "x", "payload": 1}',
    ],
    "lines": [b"\x05\x20\x40" + b"\n".join([RUN, b"", b" \t" + ODD + b"\r"]), b"\0\0\0\n\n"],
    "json_list": [*_DOCUMENTS, b"[%b,\n%b\n, %b]" % (RUN, ODD, RUN)],
    "snapshot": [
        SNAPSHOT % LAID_OUT,
        SNAPSHOT % (LAID_OUT + b",\n    " + LAID_OUT),
        b'{"runs": [%b, %b], "taskId": "t", "more": {"runs": []}}' % (RUN, ODD),
        b'{"taskId":"t","lastRunAt":"1","runs":[]}',
    ],
    "lock_owner": [OWNER, b"{}", OWNER[:60], OWNER.replace(b"7", b"-1")],
}

WORDS = [
    *(b"\n    },\n    {\n", b"\n    }\n  ]", b"\n  ]\n}", b'"runs": [\n    ', b'\n      "runId": "', b"{\n"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\udc00", b"\\u0000", b"\\/", b"\\\\", b"\0", b"\xff"),
    *(b"NaN", b"-Infinity", b"1e400", b"-0", b"1.0", b"null", b"true", b"[[[[[[[[", b"]]]]]]]]", b'{"":'),
    *(b'"taskId":', b'"runId":', b'"timestamp":', b'"type":', b'"payload":', b'"run:completed"', b",\n"),
    *(b'"pid":', b'"kind":', b'"runs":'),
]

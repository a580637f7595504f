/** `longwave/fetch` against a gateway that cuts, refuses and hangs. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { type Resume, ResumeError, type ResumingFetchOptions, resumingFetch } from "longwave/fetch";

import { type Answer, FakeGateway, events, lines, until } from "./gateway.js";

const ANSWERS: Record<string, Answer> = {
  "line feeds": events(["data: a\n\n", "event: x\ndata: ż🌊\ndata: c\n\n", "data: [DONE]\n\n"]),
  "both line ends": events(["data: a\r\n\r\n", ": carried\r\nevent: x\r\ndata: 波\r\n\r\n"]),
  "carriage returns": events(["data: a\r\r", "event: x\rdata: b\r\r", "data: c\r\r"]),
  "carried comments": events([": one\n:two\ndata: a\n\n", "retry: 5\n: three\ndata: b\n: four\n\n"]),
  lines: lines([{ response: "ż🌊" }, { response: "b" }, { done: true }]),
};

let gateway: FakeGateway;
const random = Math.random;
// Waits are tested for themselves: here none is worth its time.
beforeEach(() => {
  Math.random = () => 0;
});
afterEach(async () => {
  Math.random = random;
  await gateway.stop();
});

const post = (options: ResumingFetchOptions = {}, init: RequestInit = {}) =>
  resumingFetch(options)(`${gateway.url}/v1/chat`, { method: "POST", body: "{}", ...init });

const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

describe("cut off", { timeout: 120_000 }, () => {
  for (const [name, answer] of Object.entries(ANSWERS)) {
    test(`${name}: at every byte, the body is whole`, async () => {
      gateway = await FakeGateway.start(answer);
      await (await post()).arrayBuffer();
      const { length } = gateway.whole;
      for (let cutAfter = 0; cutAfter <= length; cutAfter += 1) {
        gateway.faults = [{ cutAfter }];
        const body = await bytesOf(await post());
        assert.deepEqual(body, gateway.whole, `cut after ${cutAfter}`);
      }
      assert.equal(gateway.generations, length + 2);
      assert.equal(gateway.count("GET"), length + 1);
    });
  }

  test("again and again, a byte at a time, the body is whole", async () => {
    gateway = await FakeGateway.start(events(Array.from({ length: 50 }, (_, index) => `data: ${index}\n\n`)));
    // Each connection brings one event and a part of the next.
    gateway.faults = Array.from({ length: 49 }, () => ({ cutAfter: 50, piece: 1 }));
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
    assert.equal(gateway.generations, 1);
  });

  test("between heartbeats, they are handed on and nothing is lost", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ heartbeats: 3, cutAfter: 5 }, { heartbeats: 2, cutAfter: 14 }];
    const body = (await bytesOf(await post())).toString();
    assert.equal(body.replaceAll(/^:\n/gm, ""), gateway.whole.toString());
    assert.equal(body.match(/^:\n/gm)?.length, 4);
  });

  test("where the connection closes with the answer, its end is not taken for the answer's", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    const close = { connection: "close" };
    const border = (await bytesOf(await post())).indexOf("event: x");
    gateway.faults = [{ headers: close, cutAfter: border }, { headers: close }];
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
    assert.equal(gateway.count("GET"), 2);
  });

  test("and told that the stream ended badly, the body fails", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await (await post()).arrayBuffer();
    gateway.faults = [{ cutAfter: gateway.whole.length }, { status: 204, headers: { "longwave-end": "truncated" } }];
    await assert.rejects(bytesOf(await post()), /truncated/);
  });

  test("though the body seemed to end in order, what was in the middle of an event goes on", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ endAfter: 12 }];
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
  });

  test("behind the last event, the body ends in order", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await (await post()).arrayBuffer();
    gateway.faults = [{ cutAfter: gateway.whole.length }];
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
    assert.equal(gateway.seen.at(-1)?.method, "GET");
  });
});

describe("a reconnect", { timeout: 30_000 }, () => {
  test("carries the credentials, and nothing that was about the request's body", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ cutAfter: 50 }];
    const headers = { authorization: "Bearer key", "x-api-key": "k", "content-type": "application/json" };
    const response = await post({}, { headers });
    await response.arrayBuffer();
    const [asked, resumed] = gateway.seen;
    assert.ok(asked && resumed);
    assert.equal(resumed.url, response.headers.get("longwave-stream"));
    assert.match(String(resumed.headers["last-event-id"]), /^stream-0+1:2$/);
    assert.equal(resumed.headers.authorization, "Bearer key");
    assert.equal(resumed.headers["x-api-key"], "k");
    assert.equal(resumed.headers.accept, "text/event-stream");
    assert.equal(resumed.headers["accept-encoding"], "identity");
    assert.equal(resumed.headers["content-type"], undefined);
    assert.equal(resumed.headers["idempotency-key"], undefined);
  });

  test("of lines counts them", async () => {
    gateway = await FakeGateway.start(ANSWERS["lines"] as Answer);
    gateway.faults = [{ cutAfter: 25 }];
    const response = await post();
    await response.arrayBuffer();
    assert.equal(gateway.seen.at(-1)?.url, `${response.headers.get("longwave-stream")}?starting_after=0`);
  });

  test("goes on from where a read began that named its own start", async () => {
    gateway = await FakeGateway.start(lines([0, 1, 2, 3, 4]));
    const { headers } = await post();
    const path = headers.get("longwave-stream");
    gateway.faults = [{ cutAfter: 3 }, { cutAfter: 0 }];
    const response = await resumingFetch()(`${gateway.url}${path}?starting_after=1&token=lwv_x&other=1`);
    assert.equal(await response.text(), "2\n3\n4\n");
    assert.equal(gateway.seen.at(-1)?.url, `${path}?starting_after=2&token=lwv_x`);
  });

  test("tells whoever shows it", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ cutAfter: 50 }, { refuse: true }];
    const told: Resume[] = [];
    const response = await post({ onResume: (resume) => told.push(resume) });
    await response.arrayBuffer();
    assert.deepEqual(told.map(({ attempt }) => attempt), [1, 2]);
    assert.equal(told[0]?.stream, gateway.url + response.headers.get("longwave-stream"));
    assert.match(told[0]?.lastEventId ?? "", /:2$/);
    assert.ok(told[0]?.cause instanceof Error);
  });

  test("is tried again after what may pass", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [
      { cutAfter: 50 },
      { status: 503, headers: { "retry-after": "0" } },
      { status: 429 },
      { status: 200, headers: { "content-type": "text/html" } },
      { status: 302, headers: { location: "https://example.invalid/sign-in" } },
      { refuse: true },
    ];
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
    assert.equal(gateway.count("GET"), 6);
  });

  test("waits as long as the gateway asks it to", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ cutAfter: 50 }, { status: 503, headers: { "retry-after": "1" } }];
    const times: number[] = [];
    await (await post({ onResume: () => times.push(performance.now()) })).arrayBuffer();
    const [first = 0, second = 0] = times;
    // A timer may be early by a rounding, never by more.
    assert.ok(second - first > 990);
  });

  for (const [status, message] of [[404, /doesn't know the stream/], [410, /no longer has/], [401, /refuses it \(401/]] as const) {
    test(`that is answered ${status} ends the body with an error that says so`, async () => {
      gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
      gateway.faults = [{ cutAfter: 50 }, { status }];
      const response = await post();
      await assert.rejects(response.arrayBuffer(), (error) => {
        assert.ok(error instanceof ResumeError);
        assert.equal(error.status, status);
        assert.match(error.message, message);
        assert.ok(error.cause instanceof Error);
        return true;
      });
      assert.equal(gateway.count("GET"), 1);
    });
  }

  test("that never succeeds ends the body with what broke it, not in order", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ cutAfter: 50 }, ...Array.from({ length: 20 }, () => ({ refuse: true }) as const)];
    let cause: unknown;
    const response = await post({ resumeRetriesMax: 3, onResume: (resume) => (cause = resume.cause) });
    await assert.rejects(response.arrayBuffer(), (error) => error === cause);
    assert.equal(gateway.count("GET"), 3);
  });

  test("has its tries anew after each that brings something", async () => {
    gateway = await FakeGateway.start(events(Array.from({ length: 9 }, (_, index) => `data: ${index}\n\n`)));
    gateway.faults = Array.from({ length: 8 }, () => [{ cutAfter: 50 }, { refuse: true } as const]).flat();
    assert.deepEqual(await bytesOf(await post({ resumeRetriesMax: 2 })), gateway.whole);
  });

  test("is made when nothing comes for too long", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ hangAfter: 50 }, { hangAfter: 0 }];
    assert.deepEqual(await bytesOf(await post({ silenceMaxMs: 100 })), gateway.whole);
  });
});

describe("a POST", { timeout: 30_000 }, () => {
  test("has one key over all its tries, and is generated once", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ refuse: true }, { refuse: true }, { cutAfter: 50 }];
    assert.deepEqual(await bytesOf(await post()), gateway.whole);
    const keys = gateway.seen.filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"]);
    assert.equal(keys.length, 3);
    assert.equal(new Set(keys).size, 1);
    assert.match(String(keys[0]), /^[0-9a-f-]{36}$/);
    assert.equal(gateway.generations, 1);
  });

  test("keeps the key that it has, and two have two", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await post({}, { headers: { "Idempotency-Key": "mine" } });
    await post();
    await post();
    const keys = gateway.seen.map(({ headers }) => headers["idempotency-key"]);
    assert.equal(keys[0], "mine");
    assert.equal(new Set(keys).size, 3);
  });

  test("asks for no compression, unless it asks for some itself", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await post();
    await post({}, { headers: { "accept-encoding": "br" } });
    assert.deepEqual(gateway.seen.map(({ headers }) => headers["accept-encoding"]), ["identity", "br"]);
  });

  const bodies: [string, () => BodyInit][] = [
    ["bytes", () => Buffer.from("{}")],
    ["a blob", () => new Blob(["{}"])],
    ["parameters", () => new URLSearchParams({ a: "b" })],
    [
      "a form",
      () => {
        const form = new FormData();
        form.set("file", new Blob(["{}"]), "x.json");
        return form;
      },
    ],
  ];
  for (const [name, body] of bodies) {
    test(`of ${name} is sent again as it was`, async () => {
      gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
      gateway.faults = [{ refuse: true }];
      await post({}, { body: body() });
      const [first, second] = gateway.seen;
      assert.ok(first && second && first.body !== "");
      assert.equal(first.body, second.body);
      assert.equal(first.headers["content-type"], second.headers["content-type"]);
    });
  }

  test("that is a Request is sent again as it was", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ refuse: true }, { cutAfter: 50 }];
    const headers = { "x-api-key": "k" };
    const request = new Request(`${gateway.url}/v1`, { method: "POST", body: "{}", headers });
    assert.deepEqual(await bytesOf(await resumingFetch()(request)), gateway.whole);
    assert.deepEqual(gateway.seen.map(({ body }) => body), ["{}", "{}", ""]);
    assert.deepEqual(gateway.seen.map((seen) => seen.headers["x-api-key"]), ["k", "k", "k"]);
  });

  test("of a stream is sent once", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ refuse: true }];
    const init = { body: new Blob(["{}"]).stream(), duplex: "half" } as RequestInit;
    await assert.rejects(post({}, init), TypeError);
    assert.equal(gateway.seen.length, 1);
    assert.notEqual(gateway.seen[0]?.headers["idempotency-key"], undefined);
  });

  test("that no gateway answers fails with what is wrong", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await gateway.stop();
    await assert.rejects(post(), (error: Error) => {
      assert.match(String((error.cause as Error | undefined)?.message), /ECONNREFUSED/);
      return true;
    });
  });

  test("whose URL is none is refused by the platform", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    await assert.rejects(resumingFetch()("no URL", { method: "POST" }), TypeError);
  });
});

describe("the answer", { timeout: 30_000 }, () => {
  test("has the status, headers and URL that it came with", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    const response = await post();
    for (const answer of [response, response.clone()]) {
      assert.equal(answer.status, 200);
      assert.equal(answer.ok, true);
      assert.equal(answer.url, `${gateway.url}/v1/chat`);
      assert.equal(answer.headers.get("x-request-id"), "from upstream");
      assert.match(answer.headers.get("longwave-stream") ?? "", /^\/streams\//);
      assert.deepEqual(await bytesOf(answer), gateway.whole);
    }
  });

  test("passes untouched where nobody recorded it, or it is no stream", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [
      { status: 200, headers: { "content-type": "application/json", "longwave-stream": "/streams/x" } },
      { status: 200, headers: { "content-type": "text/event-stream" } },
      { status: 500, headers: { "content-type": "text/event-stream", "longwave-stream": "/streams/x" } },
    ];
    let native: Response | undefined;
    const options = {
      fetch: async (...parameters: Parameters<typeof fetch>) => (native = await fetch(...parameters)),
    };
    for (let count = 0; count < 3; count += 1) {
      const response = await post(options);
      assert.equal(response, native);
      assert.equal(await response.text(), "{}");
    }
  });

  for (const elsewhere of ["https://example.invalid/x", "streams/x", "example.invalid"]) {
    test(`is not followed to ${elsewhere}`, async () => {
      gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
      gateway.faults = [{ cutAfter: 50, headers: { "longwave-stream": elsewhere } }];
      const response = await post();
      await assert.rejects(response.arrayBuffer(), TypeError);
      assert.equal(gateway.seen.length, 1);
    });
  }

  for (const path of ["//example.invalid/x", "/\\example.invalid/x", "/\t/example.invalid/x", "/@example.invalid/x"]) {
    test(`is followed to ${JSON.stringify(path)} as a path of the same server`, async () => {
      gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
      gateway.faults = [{ cutAfter: 50, headers: { "longwave-stream": path } }];
      const response = await post();
      await assert.rejects(response.arrayBuffer(), { name: "ResumeError", status: 404 });
      assert.equal(gateway.seen.length, 2);
    });
  }

  test("comes no faster than it is read", async () => {
    const many = events(Array.from({ length: 400 }, () => `data: ${"x".repeat(65_536)}\n\n`));
    gateway = await FakeGateway.start(many);
    let read = 0;
    const counting = async (...parameters: Parameters<typeof fetch>) => {
      const response = await fetch(...parameters);
      const reader = response.body?.getReader();
      const meter = new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const { value } = (await reader?.read()) ?? {};
            if (value === undefined) return controller.close();
            read += value.length;
            controller.enqueue(value);
          },
          cancel: (reason) => reader?.cancel(reason),
        },
        { highWaterMark: 0 },
      );
      return new Response(meter, { headers: response.headers });
    };
    const response = await post({ fetch: counting });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(read, 0);
    const reader = response.body?.getReader();
    const first = await reader?.read();
    assert.ok((first?.value?.length ?? 0) > 0);
    assert.ok(read < 1_048_576, `${read} bytes were read for one event`);
    await reader?.cancel();
  });
});

describe("who stops reading", { timeout: 30_000 }, () => {
  const begin = async (options: ResumingFetchOptions, signal?: AbortSignal) => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ hangAfter: 50 }];
    const response = await post(options, { signal: signal ?? null, headers: { authorization: "Bearer key" } });
    const reader = response.body?.getReader();
    assert.ok(reader);
    assert.ok(((await reader.read()).value?.length ?? 0) > 0);
    return { reader, path: response.headers.get("longwave-stream") };
  };

  test("leaves, unless told otherwise", async () => {
    const { reader } = await begin({});
    await reader.cancel();
    await until(() => gateway.closed === 1);
    assert.equal(gateway.seen.length, 1);
  });

  test("cancels by cancelling the body, if so chosen", async () => {
    const { reader, path } = await begin({ onCancel: "cancel" });
    await reader.cancel();
    await until(() => gateway.count("DELETE") === 1);
    assert.equal(gateway.seen.at(-1)?.url, path);
    assert.equal(gateway.seen.at(-1)?.headers.authorization, "Bearer key");
    await until(() => gateway.closed === 1);
  });

  test("cancels by aborting, if so chosen, and gets the reason", async () => {
    const abort = new AbortController();
    const { reader } = await begin({ onCancel: "cancel" }, abort.signal);
    const reason = new Error("enough");
    const read = reader.read();
    abort.abort(reason);
    await assert.rejects(read, (error) => error === reason);
    await until(() => gateway.count("DELETE") === 1);
    assert.equal(gateway.count("GET"), 0);
  });

  test("cancels nothing once the answer has ended", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    const abort = new AbortController();
    await (await post({ onCancel: "cancel" }, { signal: abort.signal })).arrayBuffer();
    abort.abort();
    await (await post()).arrayBuffer();
    assert.equal(gateway.count("DELETE"), 0);
  });

  test("is not kept waiting by a wait", async () => {
    Math.random = () => 1;
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    gateway.faults = [{ cutAfter: 50 }, { status: 503, headers: { "retry-after": "3600" } }];
    const abort = new AbortController();
    const response = await post({}, { signal: abort.signal });
    const body = response.arrayBuffer();
    await until(() => gateway.count("GET") === 1);
    abort.abort();
    await assert.rejects(body, { name: "AbortError" });
  });

  test("is not kept waiting by a POST that waits to be sent again", async () => {
    gateway = await FakeGateway.start(ANSWERS["line feeds"] as Answer);
    // Days, and less than what overflows a timer.
    Math.random = () => 1e6;
    gateway.faults = [{ refuse: true }];
    const abort = new AbortController();
    const answer = post({}, { signal: abort.signal });
    await until(() => gateway.seen.length === 1);
    abort.abort();
    await assert.rejects(answer, { name: "AbortError" });
    assert.equal(gateway.seen.length, 1);
  });
});

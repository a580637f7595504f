/**
 * What every runtime's tests are written with: no more of a platform than `fetch` and timers.
 *
 * {@link test} registers a case, {@link runCases} runs them all. The server that they talk to runs outside, so that a
 * browser can drive it too: {@link Script} is a test's hold on it.
 */

/** What a run needs to know, set by whatever starts it. */
export interface Surroundings {
  /** The scripted server. */
  readonly server: string;
  /** The same under the name of another origin. */
  readonly otherOrigin: string;
  /** A real server. */
  readonly longwave: string;
}

export interface Result {
  readonly name: string;
  /** Absent where the case passed. */
  readonly error?: string;
}

/** How one request to a script is answered. */
export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  /** Written one by one. */
  chunks?: string[];
  /** Behind the chunks: the body ends, the connection is reset, or all stays open. Default: `hang`. */
  then?: "end" | "reset" | "hang";
  /** What comes is no HTTP, or nothing at all is sent. */
  head?: "broken" | "never";
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

const cases: { name: string; run: () => Promise<void> | void }[] = [];

export function test(name: string, run: () => Promise<void> | void): void {
  cases.push({ name, run });
}

export async function runCases(given: Surroundings, report: (result: Result) => unknown): Promise<void> {
  surroundings = given;
  for (const { name, run } of cases) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hang = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`nothing more happened for ${HANG_LIMIT_MS} ms`)), HANG_LIMIT_MS);
    });
    try {
      await Promise.race([Promise.resolve().then(run), hang]);
      await report({ name });
    } catch (error) {
      await report({ name, error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) });
    }
    clearTimeout(timer);
    for (const undo of cleanups.splice(0).reverse()) await undo();
  }
}

/** Runs behind the case, however it went. */
export function cleanup(undo: () => unknown): void {
  cleanups.push(undo);
}

export let surroundings: Surroundings;

/** Answers for one path of the scripted server, taken one a request; the last is given again and again. */
export class Script {
  readonly url: string;
  readonly #id: string;

  private constructor(id: string) {
    this.#id = id;
    this.url = `${surroundings.server}/script/${id}`;
  }

  static async of(...answers: Answer[]): Promise<Script> {
    return Script.at("", ...answers);
  }

  /** A script whose path ends like `path`: the client knows topics by it. */
  static async at(path: string, ...answers: Answer[]): Promise<Script> {
    const id = `${Math.random().toString(36).slice(2)}${path}`;
    const script = new Script(id);
    await script.#control("answers", JSON.stringify(answers));
    return script;
  }

  /** Writes to every answer that is open. */
  async write(text: string): Promise<void> {
    await this.#control("write", text);
  }

  /** Ends every answer that is open. */
  async end(): Promise<void> {
    await this.#control("end", "");
  }

  /** What came so far. */
  async seen(): Promise<Seen[]> {
    return JSON.parse(await this.#control("seen", "")).seen;
  }

  /** How many answers are open: whose client has not gone. */
  async open(): Promise<number> {
    return JSON.parse(await this.#control("seen", "")).open;
  }

  async #control(action: string, body: string): Promise<string> {
    const response = await fetch(`${surroundings.server}/control/${action}/${this.#id}`, { method: "POST", body });
    if (!response.ok) throw new Error(`the scripted server refused ${action}: ${response.status}`);
    return response.text();
  }
}

/** Waits until a state is reached. What never comes ends with the case's own limit. */
export async function until(state: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await state())) await new Promise((resolve) => setTimeout(resolve, 10));
}

export function equal(actual: unknown, expected: unknown, about = ""): void {
  const [is, shall] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== shall) throw new Error(`${about} is ${is}, and not ${shall}`);
}

export function ok(state: unknown, about: string): void {
  if (!state) throw new Error(about);
}

/** The error that a promise fails with. */
export async function failure(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error("it did not fail");
}

const HANG_LIMIT_MS = 30_000;
const cleanups: (() => unknown)[] = [];

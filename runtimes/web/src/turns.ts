/** Lets one piece of work at a time go on, in the order in which they came. */
export class Turns {
  private static readonly known = new WeakMap<object, Turns>();
  private last: Promise<unknown> = Promise.resolve();

  /** Those of a module that computes. */
  static of(owner: object): Turns {
    const turns = Turns.known.get(owner) ?? new Turns();
    Turns.known.set(owner, turns);
    return turns;
  }

  take<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work, work);
    this.last = result.catch(() => undefined);
    return result;
  }
}

const longest = 25;
let since = 0;

/** Let messages, timers and drawing have their turn, if they have waited for some time. */
export async function breathe(): Promise<void> {
  const now = performance.now();
  if (now - since < longest) return;
  await new Promise<void>((resolve) => {
    if (typeof MessageChannel === "undefined") {
      setTimeout(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
  since = performance.now();
}

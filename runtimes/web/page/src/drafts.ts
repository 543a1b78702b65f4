import { activeOf, withClick, type Objects } from "./objects";
import type { Answer, Box, Point, Prompt } from "./types";

/** A prompt that has no answer yet: of a new object, or of the one with the id `target`. */
export interface Draft {
  readonly target: number | null;
  readonly prompt: Prompt;
  /** Whether the next click is about another object. */
  readonly closed: boolean;
}

/** What was asked and not answered, in order. Clicks that come faster than answers are asked
 * together, as one prompt of more points. */
export class Drafts {
  private queue: Draft[] = [];
  private running = false;

  constructor(
    private readonly ask: (prompt: Prompt) => Promise<Answer>,
    private readonly done: (draft: Draft, answer: Answer) => void,
    private readonly failed: (error: unknown) => void,
  ) {}

  get waiting(): boolean {
    return this.queue.length > 0;
  }

  /** The prompt that the next click adds to, if it is not answered yet. */
  get open(): Draft | null {
    const last = this.queue[this.queue.length - 1];
    return last && !last.closed ? last : null;
  }

  click(at: Point, label: 0 | 1, objects: Objects, boxOf: (answer: Answer) => Box | undefined): void {
    const draft = this.open;
    if (draft) {
      this.queue[this.queue.length - 1] = { ...draft, prompt: withClick(draft.prompt, at, label) };
    } else {
      const active = this.waiting ? null : activeOf(objects);
      const found = active && !active.prompt ? boxOf(active.answer) : undefined;
      const prompt = withClick(active?.prompt ?? null, at, label, found);
      this.queue.push({ target: active?.id ?? null, prompt, closed: false });
    }
    void this.run();
  }

  /** A box is always of a new object. */
  box(box: Box): void {
    this.close();
    this.queue.push({ target: null, prompt: { points: [], labels: [], box }, closed: false });
    void this.run();
  }

  /** The next click is about another object. */
  close(): void {
    const last = this.queue.pop();
    if (last) this.queue.push({ ...last, closed: true });
  }

  /** Forget what has no answer yet. */
  drop(): void {
    this.queue = [];
  }

  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    for (let draft = this.queue[0]; draft; draft = this.queue[0]) {
      try {
        const answer = await this.ask(draft.prompt);
        const now = this.queue[0];
        if (now?.prompt !== draft.prompt) continue; // there was another click meanwhile, or an undo
        this.queue.shift();
        this.done(now, answer);
      } catch (error) {
        if (this.queue[0]?.prompt !== draft.prompt) continue; // what failed is not wanted any more
        this.queue = [];
        this.failed(error);
      }
    }
    this.running = false;
  }
}

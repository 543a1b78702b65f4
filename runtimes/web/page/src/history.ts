/** States of a document, of which none is ever changed: undo and redo are steps among them. */
export class History<State> {
  private past: State[] = [];
  private future: State[] = [];

  constructor(private now: State) {}

  get present(): State {
    return this.now;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** A new state, which undo takes back. */
  push(state: State): void {
    this.past.push(this.now);
    this.future = [];
    this.now = state;
  }

  /** Another state in the place of the present one: what is not worth a step of its own. */
  replace(state: State): void {
    this.now = state;
  }

  undo(): void {
    const state = this.past.pop();
    if (state === undefined) return;
    this.future.push(this.now);
    this.now = state;
  }

  redo(): void {
    const state = this.future.pop();
    if (state === undefined) return;
    this.past.push(this.now);
    this.now = state;
  }

  clear(state: State): void {
    this.past = [];
    this.future = [];
    this.now = state;
  }
}

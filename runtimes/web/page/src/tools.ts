import { byId, make } from "./dom";

/** What a click does. */
export type Tool = "add" | "remove" | "box" | "move";

/** The tools at the bottom. */
export class Tools {
  tool: Tool = "add";
  private readonly buttons = [...document.querySelectorAll<HTMLButtonElement>("[data-tool]")];
  private readonly everything = byId("everything");

  constructor(private readonly onChoice: (tool: Tool) => void) {
    for (const [index, button] of this.buttons.entries()) {
      button.addEventListener("click", () => this.choose(button.dataset.tool as Tool));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const next = this.buttons[(index + step + this.buttons.length) % this.buttons.length]!;
        next.focus();
        next.click();
      });
    }
    this.choose("add");
  }

  choose(tool: Tool): void {
    this.tool = tool;
    for (const button of this.buttons) {
      const isChosen = button.dataset.tool === tool;
      button.ariaChecked = String(isChosen);
      button.tabIndex = isChosen ? 0 : -1;
    }
    this.onChoice(tool);
  }

  /** How much of everything was found, from 0 to 1; nothing when that is over. */
  progress(done: number | null): void {
    const share = done === null ? "" : `${Math.floor(done * 100)} %`;
    this.everything.classList.toggle("busy", done !== null);
    this.everything.style.setProperty("--done", String(done ?? 0));
    this.everything.ariaLabel = share ? `Cancel, ${share} done` : "Find everything";
    const cancel = make("span", { className: "wide" }, ["Cancel, "]);
    const words = share ? [cancel, share] : ["Everything"];
    this.everything.querySelector("span")!.replaceChildren(...words);
  }
}

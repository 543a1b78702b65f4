import { byId, icon, make } from "./dom";
import { namesOf, UNNAMED, type Objects, type Segment } from "./objects";

export interface PanelActions {
  choose(id: number): void;
  change(id: number, change: { name: string } | { colour: string }): void;
  remove(id: number): void;
}

interface Row {
  readonly item: HTMLLIElement;
  readonly colour: HTMLInputElement;
  readonly name: HTMLInputElement;
  readonly score: HTMLSpanElement;
  readonly remove: HTMLButtonElement;
}

/** The list of objects. Rows stay what they are while it changes, so that none loses the focus. */
export class Panel {
  private readonly list = byId<HTMLOListElement>("list");
  private readonly rows = new Map<number, Row>();
  private active: number | null = null;

  constructor(private readonly actions: PanelActions) {}

  show(objects: Objects): void {
    const { list, active } = objects;
    const known = new Set(list.map(({ id }) => id));
    for (const [id, { item }] of this.rows) {
      if (!known.has(id)) {
        item.remove();
        this.rows.delete(id);
      }
    }
    list.forEach((one, index) => {
      const row = this.rows.get(one.id) ?? this.newRow(one.id);
      update(row, one, index + 1, one.id === active);
      if (this.list.children[index] !== row.item) {
        this.list.insertBefore(row.item, this.list.children[index] ?? null);
      }
    });
    if (active !== this.active && active !== null) {
      this.rows.get(active)?.item.scrollIntoView({ block: "nearest" });
    }
    this.active = active;
    byId("count").textContent = list.length ? String(list.length) : "";
    byId("empty").hidden = list.length > 0;
    byId("names").replaceChildren(...namesOf(objects).map((value) => make("option", { value })));
  }

  private newRow(id: number): Row {
    const colour = make("input", { type: "color" });
    const name = make("input", { type: "text", maxLength: 80, autocomplete: "off" });
    name.setAttribute("list", "names");
    name.spellcheck = false;
    const score = make("span", { className: "score" });
    const remove = make("button", {}, [icon("close")]);
    const item = make("li", {}, [colour, name, score, remove]);
    item.addEventListener("pointerdown", () => this.actions.choose(id));
    name.addEventListener("focus", () => this.actions.choose(id));
    colour.addEventListener("change", () => this.actions.change(id, { colour: colour.value }));
    name.addEventListener("change", () => {
      this.actions.change(id, { name: name.value.trim() || UNNAMED });
    });
    name.addEventListener("keydown", (event) => {
      if (event.key === "Enter") name.blur();
    });
    remove.addEventListener("pointerdown", (event) => event.stopPropagation());
    remove.addEventListener("click", () => {
      const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
      this.actions.remove(id);
      (next ?? byId("canvas")).focus();
    });
    const row = { item, colour, name, score, remove };
    this.rows.set(id, row);
    return row;
  }
}

function update(row: Row, one: Segment, number: number, isActive: boolean): void {
  row.item.classList.toggle("active", isActive);
  row.item.setAttribute("aria-current", String(isActive));
  row.colour.value = one.colour;
  row.colour.ariaLabel = `Colour of object ${number}`;
  if (document.activeElement !== row.name || row.name.value.trim() === "") {
    row.name.value = one.name;
  }
  row.name.ariaLabel = `Name of object ${number}`;
  const score = Math.min(1, Math.max(0, one.answer.score));
  row.score.textContent = score.toFixed(2);
  row.score.title = "How good the model thinks that the outline is, at most 1";
  row.remove.ariaLabel = `Remove object ${number}, ${one.name}`;
}

import { PageError } from "./errors";
import type { Segmenter, Watch } from "./segmenter";
import type { Answer, Prompt } from "./types";

/** The part of `samdeploy serve`'s answers that the page reads; its OpenAPI document has all. */
interface Models {
  models: { name: string; runtime: string; device: string }[];
}
interface Image {
  image_id: string;
}
interface Masks {
  masks: Answer[];
}

/** No longer kept: others have asked about newer pictures. */
const FORGOTTEN = 404;

/** The model of a server that speaks `samdeploy serve`'s routes at an address. */
export async function openOnServer(address: string): Promise<ServerSegmenter> {
  const { models } = await ask<Models>(`${address}models`);
  const first = models[0];
  if (!first) throw new PageError("The server has no model; start it with model=BUNDLE.");
  return new ServerSegmenter(address, `${first.runtime} on ${first.device}, by the server`);
}

export class ServerSegmenter implements Segmenter {
  readonly why = null;
  readonly isHere = false;
  private picture: Blob | null = null;
  private id = "";

  constructor(
    private readonly address: string,
    readonly device: string,
  ) {}

  async encode(picture: ImageData): Promise<void> {
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d")!.putImageData(picture, 0, 0);
    this.picture = await canvas.convertToBlob({ type: "image/png" });
    await this.send();
  }

  async predict({ points, labels, box }: Prompt): Promise<Answer> {
    // One click alone may mean a part or the whole: the best of three answers that.
    const multimask = !box && points.length === 1;
    const prompt = { ...(points.length && { points, labels }), ...(box && { box }) };
    const { masks } = await this.about<Masks>("predict", { prompts: [prompt], multimask });
    return masks.reduce((best, mask) => (mask.score > best.score ? mask : best));
  }

  async generate({ signal }: Watch): Promise<Answer[]> {
    return (await this.about<Masks>("generate", {}, signal)).masks;
  }

  close(): void {
    this.picture = null;
  }

  private async send(): Promise<void> {
    const headers = { "Content-Type": "image/png" };
    const request = { method: "POST", headers, body: this.picture };
    this.id = (await ask<Image>(`${this.address}images`, request)).image_id;
  }

  /** Ask about the picture, which is sent again where the server keeps it no longer. */
  private async about<T>(route: string, question: object, signal?: AbortSignal): Promise<T> {
    for (let again = false; ; again = true) {
      try {
        return await ask<T>(`${this.address}${route}`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ image_id: this.id, ...question }),
          ...(signal && { signal }),
        });
      } catch (error) {
        if (again || !(error instanceof ServerError && error.status === FORGOTTEN)) throw error;
        await this.send();
      }
    }
  }
}

class ServerError extends PageError {
  constructor(
    readonly status: number,
    sentence: string,
  ) {
    super(sentence);
  }
}

async function ask<T>(address: string, request: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address, request);
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new PageError("The server does not answer; start it again, then reload the page.");
  }
  const answer = (await response.json().catch(() => ({}))) as T & { error?: string };
  if (!response.ok) {
    const sentence = answer.error ?? `The server answered ${response.status}; look at its output.`;
    throw new ServerError(response.status, sentence);
  }
  return answer;
}

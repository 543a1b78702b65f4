import type { Steps } from "./preprocess.js";
import { sam2Steps, samSteps } from "./preprocess.js";

export const roles = ["encoder", "decoder", "prepare", "scorer", "mask_head"] as const;
export type Role = (typeof roles)[number];

/** What models of a family have in common, beside their graphs. */
export interface Family {
  /** How an image becomes encoder input, where the manifest does not say. */
  readonly steps: Steps;
  /** A box comes before points, and the padding token follows both. */
  readonly alwaysPadded: boolean;
  /** Logits of a mask that is a prompt are cut off here. */
  readonly largestLogit: number;
  /** When one mask is asked for, it is output 0 only where its outline is stable. */
  readonly stableSingleMask: boolean;
  /** The mask head sees so many cells around the one that is wanted. */
  readonly halo: number;
  /** The widest features of a mask, in numbers per image token and embedding channel. */
  readonly widest: number;
  /** What the encoder gives, and so what its other graphs take of the image. */
  readonly features: readonly string[];
  /** What the mask head takes of the image, beside `image_features`. */
  readonly tokens: readonly string[];
  /** What the decoder and the scorer give, beside masks and ratings. */
  readonly answers: readonly string[];
}

const sam: Family = {
  steps: samSteps,
  alwaysPadded: false,
  largestLogit: Infinity,
  stableSingleMask: false,
  halo: 0,
  widest: 2,
  features: ["image_embeddings"],
  tokens: [],
  answers: [],
};

export const families: Readonly<Record<string, Family>> = {
  sam,
  sam_hq: { ...sam, halo: 2, widest: 4, features: [...sam.features, "hq_features"], tokens: ["hq_tokens"] },
  sam2: {
    ...sam,
    steps: sam2Steps,
    alwaysPadded: true,
    largestLogit: 32,
    stableSingleMask: true,
    features: [...sam.features, "high_res_feats_0", "high_res_feats_1"],
    tokens: ["high_res_tokens_0", "high_res_tokens_1"],
    answers: ["object_score_logits"],
  },
};

/** Names of the tensors that a graph of a family takes and gives. */
export function tensorsOf(family: Family, role: Role): { inputs: readonly string[]; outputs: readonly string[] } {
  const prompts = ["point_coords", "point_labels"];
  const shared = ["image_keys", "image_values", "image_norms"];
  const wanted = ["mask_tokens", "mask_scale", "mask_weights", "mask_values"];
  const image = ["image_features", ...family.tokens];
  return {
    encoder: { inputs: ["image"], outputs: family.features },
    decoder: {
      inputs: [...family.features, ...prompts, "mask_input", "has_mask_input"],
      outputs: ["low_res_masks", "iou_predictions", ...family.answers],
    },
    prepare: { inputs: family.features, outputs: [...shared, ...image] },
    scorer: { inputs: [...shared, ...prompts], outputs: ["iou_predictions", ...wanted, ...family.answers] },
    mask_head: { inputs: [...image, ...wanted], outputs: ["low_res_masks"] },
  }[role];
}

import type { Server } from "node:http";
import type { Browser } from "playwright-core";

export function open(): Promise<Browser>;
export function serving(folders?: Record<string, string>, texts?: Record<string, string>): Server;
